/** Elements, made of typed parts. Every child is a node or text; there is no way to put markup in. */

export type Child = Node | string | null | undefined | false;

export interface Parts {
  readonly class?: string;
  readonly id?: string;
  readonly on?: { readonly [E in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[E]) => void };
  /** Attributes. `true` is an empty one; `false` and `undefined` are left out. */
  readonly attributes?: Readonly<Record<string, string | number | boolean | undefined>>;
}

/** An element. */
export function h<T extends keyof HTMLElementTagNameMap>(tag: T, parts: Parts, ...children: Child[]): HTMLElementTagNameMap[T] {
  const element = document.createElement(tag);
  if (parts.class) element.className = parts.class;
  if (parts.id) element.id = parts.id;
  for (const [name, value] of Object.entries(parts.attributes ?? {})) {
    if (value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [event, listener] of Object.entries(parts.on ?? {})) {
    element.addEventListener(event, listener as EventListener);
  }
  element.append(...present(children));
  return element;
}

/** Replaces what is in an element. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...present(children));
}

/** The element that the page's HTML has under this id. */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

let made = 0;
/** An id that no other element of the page has. */
export function freshId(stem: string): string {
  made += 1;
  return `${stem}-${made}`;
}

function present(children: readonly Child[]): (Node | string)[] {
  return children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false);
}
