package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.example/cli"
	"headgate.example/lib/service/servicetest"
)

// signIn gives the status of signing in through the edge, and the token.
func signIn(t *testing.T, edge, name, password string) (status int, token string) {
	t.Helper()
	body := fmt.Sprintf(`{"name":%q,"password":%q}`, name, password)
	response, err := http.Post(edge+"/api/login", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var session struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&session); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, session.Token
}

// adminStatus is what the operator's API answers to a token.
func adminStatus(t *testing.T, edge, token string) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, edge+"/api/admin/sales", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// An operator's account is made on a running system, may do what its roles say, and not a moment longer.
func TestAccounts(t *testing.T) {
	config, _ := system(t)
	cfg, err := cli.LoadConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	edge := cfg.APIAddress()
	on := func(input string, args ...string) result {
		return commandReading(input, nil, append([]string{"account", "--config", config}, args...)...)
	}
	mustSignIn := func(password string) string {
		t.Helper()
		status, token := signIn(t, edge, "ops", password)
		if status != http.StatusOK {
			t.Fatalf("signing in: %d", status)
		}
		return token
	}
	void := func(token string) {
		t.Helper()
		servicetest.Eventually(t, 5*time.Second, "the token is void", func() bool { return adminStatus(t, edge, token) == http.StatusUnauthorized })
	}

	on("correct horse\nnot read\n", "create", "Ops", "--role", "admin").want(t, 0, "created: account ops (user a", "roles admin")
	token := mustSignIn("correct horse")
	if status := adminStatus(t, edge, token); status != http.StatusOK {
		t.Fatalf("the new operator is answered %d", status)
	}
	on("correct horse", "create", "ops").want(t, 1, "there is an account of this name", "grant")

	on("", "revoke", "ops", "admin").want(t, 0, "changed, tokens of before are void: account ops", "no roles")
	void(token)
	token = mustSignIn("correct horse")
	if status := adminStatus(t, edge, token); status != http.StatusForbidden {
		t.Fatalf("without the role he is answered %d", status)
	}
	on("", "grant", "ops", "admin", "buyer", "--json").want(t, 0, `"admin",`, `"buyer"`, `"disabled": false`)
	void(token)
	token = mustSignIn("correct horse")

	commandReading("", map[string]string{passwordVariable: "another horse"}, "account", "password", "ops", "--config", config).want(t, 0, "changed")
	void(token)
	if status, _ := signIn(t, edge, "ops", "correct horse"); status != http.StatusUnauthorized {
		t.Errorf("with the old password: %d", status)
	}
	token = mustSignIn("another horse")
	on("", "disable", "ops").want(t, 0, "disabled")
	void(token)
	if status, _ := signIn(t, edge, "ops", "another horse"); status != http.StatusUnauthorized {
		t.Errorf("to a disabled account: %d", status)
	}
	on("", "list").want(t, 0, "ops", "admin,buyer", "disabled", "SINCE")
	on("", "enable", "ops").want(t, 0, "changed")
	mustSignIn("another horse")

	on("pass for ann", "create", "ann").want(t, 0, "no roles")
	on("", "list", "--all").want(t, 0, "alice", "ann", "-")
	if list := on("", "list", "--role", "buyer", "--json"); !strings.Contains(list.out, `"ops"`) || strings.Contains(list.out, "ann") {
		t.Errorf("those with the role buyer: %s", list.out)
	}
	if list := on("", "list"); strings.Contains(list.out, "ann") {
		t.Errorf("those with roles: %s", list.out)
	}
	on("", "grant", "nobody", "admin").want(t, 1, "there is no account of this name")
	on("", "grant", "ops", "ad min").want(t, 1, "roles: each must be")
	on("short", "password", "ops").want(t, 1, "a password must have")
	on("", "password", "ops").want(t, 2, passwordVariable)
	on("", "create", "a b").want(t, 2, passwordVariable)
	on("correct horse", "create", "a b").want(t, 1, "name: must be")
	on("", "grant", "ops").want(t, 2, "name an account and its roles")
	on("", "list", "--all", "--role", "x").want(t, 2, "--all")
}
