// One run of the original client on one device: see ../src/official.js.
const assert = require("node:assert/strict");
const { createInterface } = require("node:readline");
const { setTimeout: sleep } = require("node:timers/promises");
const { AutoAccount } = require("@verida/account-node");
const { Network } = require("@verida/client-ts");

const { node, chain, privateKey, part } = JSON.parse(process.argv[2]);
const POST = "https://common.schemas.verida.io/social/post/v0.1.0/schema.json";
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const connect = () => {
  const environment = "testnet";
  const web3Config = { endpointUrl: node, serverConfig: { headers: {} }, postConfig: { headers: {} } };
  const didClientConfig = { callType: "gasless", rpcUrl: chain, web3Config, didEndpoints: [`${node}/did/`] };
  const at = (type) => ({ type, endpointUri: [`${node}/`] });
  const account = new AutoAccount(
    { privateKey, environment, didClientConfig },
    { defaultDatabaseServer: at("VeridaDatabase"), defaultMessageServer: at("VeridaMessage") },
  );
  const schemaPaths = { "https://core.schemas.verida.io/": `${chain}/core/`, "https://common.schemas.verida.io/": `${chain}/common/` };
  const client = { environment, schemaPaths, didClientConfig: { network: environment, rpcUrl: chain } };
  return Network.connect({ client, account, context: { name: "Interop: Official" } });
};

// The client says nothing of when it has told the node: the other device, or the end of the test, finds out.
const until = async (holds) => {
  for (let tries = 0; ; tries += 1) {
    if (await holds()) return;
    if (tries > 100) throw new Error(`it never came to be: ${holds}`);
    await sleep(100);
  }
};

const texts = async (notes) => (await notes.getMany()).map(({ text }) => text).sort();
const saved = async (database, record) => {
  const done = await database.save(record);
  assert(done, JSON.stringify(database.errors));
  return done;
};

const parts = {
  async begin(context) {
    const notes = await context.openDatabase("notes");
    for (const text of ["one", "two", "three"]) await saved(notes, { _id: text, text });
    await saved(notes, { ...(await notes.get("two")), text: "two, edited" });
    await notes.delete("three");
    assert.deepEqual(await texts(notes), ["one", "two, edited"]);
    const open = await context.openDatabase("open", { permissions: { read: "public", write: "owner" } });
    await saved(open, { _id: "told", text: "to everybody" });
    const posts = await context.openDatastore(POST);
    await saved(posts, { name: "A post", type: "note", content: "Hello", uri: "https://example.org/", url: "https://example.org/", sourceApplication: "https://example.org/", sourceId: "1" });
  },
  async goOn(context) {
    const notes = await context.openDatabase("notes");
    assert.deepEqual(await texts(notes), ["one", "two, edited"]);
    await saved(notes, { ...(await notes.get("one")), text: "one, by another" });
    // Its access token ends.
    console.log("PASS 700");
    await lines.next();
    await saved(notes, { _id: "four", text: "four" });
    const open = await context.openDatabase("open", { permissions: { read: "public", write: "owner" } });
    assert.equal((await open.get("told")).text, "to everybody");
    const posts = await context.openDatastore(POST);
    assert.deepEqual((await posts.getMany()).map(({ content }) => content), ["Hello"]);
  },
  async end(context) {
    const notes = await context.openDatabase("notes");
    const expected = ["four", "one, by another", "two, edited"];
    await until(async () => JSON.stringify(await texts(notes)) === JSON.stringify(expected));
  },
};

(async () => {
  const context = await connect();
  assert(context, "the context does not open");
  await parts[part](context);
  // What is live is pushed within this; closing pushes what is left.
  await sleep(1500);
  await context.close({ clearLocal: false });
})().then(
  () => process.exit(0),
  (error) => {
    console.error(String(error.stack ?? error).slice(0, 2000));
    process.exit(1);
  },
);
