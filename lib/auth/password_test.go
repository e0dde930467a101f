package auth

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func TestPasswords(t *testing.T) {
	p, ctx := NewPasswords(2), t.Context()
	hash, err := p.HashPassword(ctx, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("the hash is %s", hash)
	}
	if err := p.CheckPassword(ctx, hash, "correct horse"); err != nil {
		t.Errorf("the right password: %v", err)
	}
	for _, wrong := range []string{"correct hors", "correct horse ", "", strings.Repeat("x", 10_000)} {
		if err := p.CheckPassword(ctx, hash, wrong); !errors.Is(err, ErrPassword) {
			t.Errorf("%.20q: %v", wrong, err)
		}
	}
	if err := p.CheckPassword(ctx, "", "correct horse"); !errors.Is(err, ErrPassword) {
		t.Errorf("without an account: %v", err)
	}
	again, err := p.HashPassword(ctx, "correct horse")
	if err != nil || again == hash {
		t.Errorf("the salt is not fresh: %v", err)
	}
}

// A hash by the command line program of the reference implementation is read too.
func TestPasswordHashOfAnotherProgram(t *testing.T) {
	const hash = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$Bo1ismRVk2qm6+YAYLCmWHDb+j3fjUH3"
	if err := NewPasswords(1).CheckPassword(t.Context(), hash, "password"); err != nil {
		t.Error(err)
	}
}

func TestPasswordForm(t *testing.T) {
	p := NewPasswords(1)
	for _, bad := range []string{"", "seven77", strings.Repeat("x", MaxPasswordBytes+1), "\xff\xfe12345678"} {
		if _, err := p.HashPassword(t.Context(), bad); !errors.Is(err, ErrPasswordForm) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

func TestDamagedHashes(t *testing.T) {
	p := NewPasswords(1)
	salt, sum := "c29tZXNhbHRzb21lc2FsdA", strings.Repeat("A", 43)
	for _, bad := range []string{
		"x", "$argon2id$v=19$m=19456,t=2,p=1$" + salt, "$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + sum,
		"$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + sum, "$argon2id$v=19$m=4194304,t=2,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + sum, "$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + sum,
		"$argon2id$v=19$m=19456,t=2,p=256$" + salt + "$" + sum, "$argon2id$v=19$t=2,m=19456,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=19456,t=2,p=1$$" + sum, "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$",
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + strings.Repeat("A", 300), "$2a$10$abcdefghijklmnopqrstuv",
		"$argon2id$v=19$m=19456,t=2$" + salt + "$" + sum, "$argon2id$v=19$m=-1,t=2,p=1$" + salt + "$" + sum,
	} {
		if err := p.CheckPassword(t.Context(), bad, "password"); !errors.Is(err, ErrPasswordHash) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// Whoever finds no free slot waits as long as its context, and no longer.
func TestPasswordsWaitForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPasswords(1)
		p.slots <- struct{}{} // somebody is hashing
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := p.HashPassword(ctx, "correct horse")
			failed <- err
		}()
		synctest.Wait()
		select {
		case err := <-failed:
			t.Fatalf("did not wait: %v", err)
		default:
		}
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		<-p.slots
		if _, err := p.HashPassword(t.Context(), "correct horse"); err != nil {
			t.Errorf("with a free slot: %v", err)
		}
	})
}

func TestPasswordsManyAtOnce(t *testing.T) {
	p := NewPasswords(0)
	hash, err := p.HashPassword(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			if err := p.CheckPassword(t.Context(), hash, "correct horse"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$Bo1ismRVk2qm6+YAYLCmWHDb+j3fjUH3")
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$$")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parsePHC(text)
		if err == nil && (h.memory > 256*1024 || h.time > 16 || h.lanes > 16 || h.lanes < 1 || h.time < 1) {
			t.Fatalf("%q gives %+v", text, h)
		}
	})
}

func BenchmarkHashPassword(b *testing.B) {
	p := NewPasswords(0)
	for b.Loop() {
		if _, err := p.HashPassword(b.Context(), "correct horse"); err != nil {
			b.Fatal(err)
		}
	}
}

// Signing in must leave CPUs to those who buy.
func TestPasswordsTakeHalfTheCPUs(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for cpus, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 2, 9: 4} {
		runtime.GOMAXPROCS(cpus)
		if got := cap(NewPasswords(0).slots); got != want {
			t.Errorf("%d CPUs: %d hashes at once, want %d", cpus, got, want)
		}
	}
}
