// Asks Adyton: a program that reads questions and writes answers, a line each.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export class Adyton {
  constructor(program) {
    this.child = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
    this.waiting = [];
    createInterface({ input: this.child.stdout }).on("line", (line) => this.waiting.shift()(JSON.parse(line)));
    this.child.on("exit", () => this.waiting.splice(0).forEach((answer) => answer({ refused: "it ended" })));
  }

  ask(question) {
    return new Promise((answer) => {
      this.waiting.push(answer);
      this.child.stdin.write(`${JSON.stringify(question)}\n`);
    });
  }

  end() {
    this.child.stdin.end();
  }
}
