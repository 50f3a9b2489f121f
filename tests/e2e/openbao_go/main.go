// Vault's dialect through the Go client that Terraform, External Secrets and the agents are built on.
// Prints "ok" at its end; the first thing that is not as expected ends it with a reason.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/openbao/openbao/api/v2"
)

var ctx = context.Background()

func must(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func check(good bool, what string, args ...any) {
	if !good {
		must(errors.New("not as expected"), fmt.Sprintf(what, args...))
	}
}

func status(err error) int {
	var response *api.ResponseError
	if errors.As(err, &response) {
		return response.StatusCode
	}
	return 0
}

func client(token string) *api.Client {
	config := api.DefaultConfig()
	config.MaxRetries = 0
	c, err := api.NewClient(config)
	must(err, "client")
	c.SetToken(token)
	return c
}

func kv(c *api.Client, name string) {
	v2 := c.KVv2("secret")
	_, err := v2.Put(ctx, name, map[string]any{"user": "a"})
	must(err, "put")
	_, err = v2.Put(ctx, name, map[string]any{"user": "b"}, api.WithCheckAndSet(1))
	must(err, "put with cas")
	_, err = v2.Put(ctx, name, map[string]any{"user": "c"}, api.WithCheckAndSet(1))
	check(status(err) == 400, "cas: %v", err)
	_, err = v2.Patch(ctx, name, map[string]any{"more": "x"})
	must(err, "patch")
	secret, err := v2.Get(ctx, name)
	must(err, "get")
	check(secret.Data["user"] == "b" && secret.Data["more"] == "x" && secret.VersionMetadata.Version == 3, "get: %v", secret)
	must(v2.PutMetadata(ctx, name, api.KVMetadataPutInput{MaxVersions: 5, CustomMetadata: map[string]any{"o": "me"}}), "metadata")
	meta, err := v2.GetMetadata(ctx, name)
	must(err, "get metadata")
	check(meta.MaxVersions == 5 && meta.CustomMetadata["o"] == "me", "metadata: %v", meta)
	must(v2.Delete(ctx, name), "delete")
	must(v2.Undelete(ctx, name, []int{3}), "undelete")
	_, err = v2.Rollback(ctx, name, 1)
	must(err, "rollback")
	must(v2.DeleteMetadata(ctx, name), "delete metadata")
	_, err = v2.Get(ctx, name)
	check(errors.Is(err, api.ErrSecretNotFound), "gone: %v", err)
}

func transit(c *api.Client, name string) {
	l := c.Logical()
	text := base64.StdEncoding.EncodeToString([]byte("text"))
	must(c.Sys().Mount(name, &api.MountInput{Type: "transit"}), "mount")
	_, err := l.Write(name+"/keys/k", nil)
	must(err, "key")
	sealed, err := l.Write(name+"/encrypt/k", map[string]any{"plaintext": text})
	must(err, "encrypt")
	opened, err := l.Write(name+"/decrypt/k", map[string]any{"ciphertext": sealed.Data["ciphertext"]})
	must(err, "decrypt")
	check(opened.Data["plaintext"] == text, "decrypt: %v", opened.Data)
	keys, err := l.List(name + "/keys")
	must(err, "list")
	check(fmt.Sprint(keys.Data["keys"]) == "[k]", "list: %v", keys.Data)
	must(c.Sys().Unmount(name), "unmount")
}

func approle(c *api.Client, name string) {
	must(c.Sys().EnableAuthWithOptions(name, &api.EnableAuthOptions{Type: "approle"}), "enable approle")
	must(c.Sys().PutPolicy(name, fmt.Sprintf(`path "secret/data/%s/*" { capabilities = ["create", "read", "update"] }`, name)), "policy")
	l := c.Logical()
	_, err := l.Write("auth/"+name+"/role/r", map[string]any{"token_policies": name, "token_ttl": "1h", "secret_id_num_uses": 1})
	must(err, "role")
	id, err := l.Read("auth/" + name + "/role/r/role-id")
	must(err, "role id")
	wrapping := client(c.Token())
	wrapping.SetWrappingLookupFunc(func(string, string) string { return "60s" })
	wrapped, err := wrapping.Logical().Write("auth/"+name+"/role/r/secret-id", nil)
	must(err, "wrapped secret id")
	secret, err := client("").Logical().Unwrap(wrapped.WrapInfo.Token)
	must(err, "unwrap")
	_, err = client("").Logical().Unwrap(wrapped.WrapInfo.Token)
	check(status(err) == 400, "unwrap again: %v", err)
	anyone := client("")
	login := map[string]any{"role_id": id.Data["role_id"], "secret_id": secret.Data["secret_id"]}
	auth, err := anyone.Logical().Write("auth/"+name+"/login", login)
	must(err, "login")
	_, err = anyone.Logical().Write("auth/"+name+"/login", login)
	check(status(err) == 400, "login again: %v", err)
	anyone.SetToken(auth.Auth.ClientToken)
	_, err = anyone.KVv2("secret").Put(ctx, name+"/x", map[string]any{"a": 1})
	must(err, "put as role")
	_, err = anyone.KVv2("secret").Put(ctx, "elsewhere", map[string]any{"a": 1})
	check(status(err) == 403, "put elsewhere: %v", err)
	watcher, err := anyone.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: auth, Increment: 1800})
	must(err, "watcher")
	go watcher.Start()
	select {
	case renewal := <-watcher.RenewCh():
		check(renewal.Secret.Auth.LeaseDuration == 1800, "renewal: %v", renewal.Secret.Auth)
	case err := <-watcher.DoneCh():
		must(err, "watcher ended")
	case <-time.After(20 * time.Second):
		check(false, "the watcher renewed nothing")
	}
	watcher.Stop()
	must(anyone.Auth().Token().RevokeSelf(""), "revoke self")
}

func tokens(c *api.Client, name string) {
	made, err := c.Auth().Token().Create(&api.TokenCreateRequest{Policies: []string{"default"}, TTL: "1h", DisplayName: name})
	must(err, "token")
	seen, err := c.Auth().Token().Lookup(made.Auth.ClientToken)
	must(err, "lookup")
	ttl, err := seen.TokenTTL()
	must(err, "ttl")
	check(ttl > 3500*time.Second && seen.Data["display_name"] == "token-"+name, "lookup: %v", seen.Data)
	rights, err := c.Sys().Capabilities(made.Auth.ClientToken, "cubbyhole/x")
	must(err, "capabilities")
	check(len(rights) == 5, "capabilities: %v", rights)
	must(c.Auth().Token().RevokeAccessor(made.Auth.Accessor), "revoke")
	_, err = client(made.Auth.ClientToken).Auth().Token().LookupSelf()
	check(status(err) == 403, "revoked: %v", err)
}

func system(c *api.Client, name string) {
	health, err := c.Sys().Health()
	must(err, "health")
	check(health.Initialized && !health.Sealed, "health: %v", health)
	must(c.Sys().Mount(name+"-a", &api.MountInput{Type: "kv-v2"}), "mount")
	_, err = c.KVv2(name+"-a").Put(ctx, "x", map[string]any{"a": "b"})
	must(err, "put")
	must(c.Sys().Remount(name+"-a", name+"-b"), "remount")
	moved, err := c.KVv2(name+"-b").Get(ctx, "x")
	must(err, "get after remount")
	check(moved.Data["a"] == "b", "moved: %v", moved.Data)
	must(c.Sys().TuneMount(name+"-b", api.MountConfigInput{MaxLeaseTTL: "2h"}), "tune")
	mounts, err := c.Sys().ListMounts()
	must(err, "mounts")
	check(mounts[name+"-b/"].Config.MaxLeaseTTL == 7200, "mounts: %v", mounts[name+"-b/"])
	must(c.Sys().Unmount(name+"-b"), "unmount")
	policies, err := c.Sys().ListPolicies()
	must(err, "policies")
	check(len(policies) >= 3, "policies: %v", policies)
	status, err := c.Sys().SealStatus()
	must(err, "seal status")
	check(!status.Sealed, "seal status: %v", status)
}

func main() {
	c := client(os.Getenv("BAO_TOKEN"))
	name := os.Args[1]
	kv(c, name)
	transit(c, name+"-transit")
	approle(c, name)
	tokens(c, name)
	system(c, name)
	fmt.Println("ok")
}
