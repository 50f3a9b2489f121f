// Vault's dialect through node-vault. Prints "ok"; what is not as expected ends it with a reason.
const assert = require("node:assert");
const [, , folder, name] = process.argv;
const vault = require(require.resolve("node-vault", { paths: [folder] }));

const open = (token) => vault({ apiVersion: "v1", endpoint: process.env.VAULT_ADDR, token });
const refused = (promise, status) => assert.rejects(promise, (e) => e.response.statusCode === status);

async function main() {
  const root = open(process.env.VAULT_TOKEN);
  assert.strictEqual((await root.initialized()).initialized, true);
  assert.strictEqual((await root.status()).sealed, false);
  assert.ok((await root.mounts())["secret/"]);
  assert.ok((await root.auths())["token/"]);

  await root.write(`secret/data/${name}/db`, { data: { user: "a", n: 5 } });
  assert.deepStrictEqual((await root.read(`secret/data/${name}/db`)).data.data, { user: "a", n: 5 });
  await root.update(`secret/data/${name}/db`, { data: { more: "x" } });
  assert.strictEqual((await root.read(`secret/data/${name}/db`)).data.data.more, "x");
  assert.deepStrictEqual((await root.list(`secret/metadata/${name}`)).data.keys, ["db"]);
  await refused(root.read(`secret/data/${name}/none`), 404);

  await root.addPolicy({ name, rules: `path "secret/data/${name}/*" { capabilities = ["read"] }` });
  assert.ok((await root.policies()).policies.includes(name));
  assert.match((await root.getPolicy({ name })).rules, /capabilities/);
  // A client goes on with the token it made.
  const made = await open(process.env.VAULT_TOKEN).tokenCreate({ policies: [name], ttl: "1h" });
  const limited = open(made.auth.client_token);
  assert.strictEqual((await limited.tokenLookupSelf()).data.type, "service");
  assert.strictEqual((await limited.read(`secret/data/${name}/db`)).data.data.user, "a");
  await refused(limited.write(`secret/data/${name}/db`, { data: {} }), 403);
  await limited.tokenRenewSelf();
  await root.tokenRevoke({ token: made.auth.client_token });
  await refused(limited.tokenLookupSelf(), 403);

  await root.enableAuth({ mount_point: name, type: "approle" });
  await root.addApproleRole({ mount_point: name, role_name: "r", policies: name, token_policies: name });
  const role = await root.getApproleRoleId({ mount_point: name, role_name: "r" });
  const secret = await root.getApproleRoleSecret({ mount_point: name, role_name: "r" });
  const app = open();
  await app.approleLogin({ mount_point: name, role_id: role.data.role_id, secret_id: secret.data.secret_id });
  assert.strictEqual((await app.read(`secret/data/${name}/db`)).data.data.user, "a");
  await refused(open().approleLogin({ mount_point: name, role_id: role.data.role_id, secret_id: "no" }), 400);

  await root.mount({ mount_point: `${name}-transit`, type: "transit" });
  await root.write(`${name}-transit/keys/k`, {});
  const text = Buffer.from("text").toString("base64");
  const sealed = await root.write(`${name}-transit/encrypt/k`, { plaintext: text });
  const opened = await root.write(`${name}-transit/decrypt/k`, { ciphertext: sealed.data.ciphertext });
  assert.strictEqual(opened.data.plaintext, text);
  await root.remount({ from: `${name}-transit`, to: `${name}-moved` });
  await root.unmount({ mount_point: `${name}-moved` });
  await root.removePolicy({ name });
  await root.delete(`secret/metadata/${name}/db`);
  console.log("ok");
}

main().catch((e) => { console.error(e); process.exit(1); });
