package userkey

import (
	"fmt"
	"testing"
)

// The vectors of the reference implementation: key 00..0f, input the first n of 00 01 02 ...
func TestSipHashVectors(t *testing.T) {
	const k0, k1 = 0x0706050403020100, 0x0f0e0d0c0b0a0908
	input := make([]byte, 64)
	for i := range input {
		input[i] = byte(i)
	}
	for n, want := range map[int]uint64{
		0: 0x726fdb47dd0e0e31, 1: 0x74f839c593dc67fd, 7: 0xab0200f58b01d137, 8: 0x93f5f5799a932462, 15: 0xa129ca6149be45e5,
	} {
		if got := sum64(k0, k1, input[:n]); got != want {
			t.Errorf("%d bytes: %016x, want %016x", n, got, want)
		}
		if got := sum64(k0, k1, string(input[:n])); got != want {
			t.Errorf("%d bytes of a string: %016x, want %016x", n, got, want)
		}
	}
}

func TestKeysOfOneUserShareASlot(t *testing.T) {
	h := New([]byte("secret"))
	seen := map[uint64]string{}
	for i := range 200 {
		user := fmt.Sprintf("u%04d", i)
		for _, sale := range []string{"", "1", "2", "sale-2026"} {
			key := h.UserInSale(user, []byte(sale))
			if Slot(key) != Slot(h.User(user)) {
				t.Fatalf("%s in %q: slot %04x, the user's is %04x", user, sale, Slot(key), Slot(h.User(user)))
			}
			if other, ok := seen[key]; ok {
				t.Fatalf("%s in %q collides with %s", user, sale, other)
			}
			seen[key] = user + " in " + sale
		}
	}
	if h.UserInSale("a", []byte("bc")) == h.UserInSale("ab", []byte("c")) {
		t.Error("the border between user and sale does not count")
	}
}

func TestSecretsGiveDifferentKeys(t *testing.T) {
	a, b, again := New([]byte("one")), New([]byte("two")), New([]byte("one"))
	if a.User("ann") == b.User("ann") || a.User("ann") != again.User("ann") {
		t.Error("keys must depend on the secret, and on nothing else")
	}
	if string(a.Fingerprint()) == string(b.Fingerprint()) || string(a.Fingerprint()) != string(again.Fingerprint()) {
		t.Error("a fingerprint must depend on the secret, and on nothing else")
	}
}

func TestSlotsSpreadEvenly(t *testing.T) {
	h := New([]byte("secret"))
	const groups, users = 64, 64_000
	var counts [groups]int
	for i := range users {
		counts[int(Slot(h.User(fmt.Sprintf("u%06d", i))))%groups]++
	}
	for group, n := range counts {
		if n < users/groups*8/10 || n > users/groups*12/10 {
			t.Errorf("group %d has %d of %d users", group, n, users)
		}
	}
}

func TestHashingAllocatesNothing(t *testing.T) {
	h, sale := New([]byte("secret")), []byte("1")
	if n := testing.AllocsPerRun(100, func() { h.User("u000001"); h.UserInSale("u000001", sale) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkUser(b *testing.B) {
	h := New([]byte("secret"))
	for b.Loop() {
		h.User("u000001")
	}
}
