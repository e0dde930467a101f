//go:build !race

package interceptor

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"headgate.example/interceptor/ratelimit"
)

// maxBytesPerUser is what all that is kept of a user may cost: his budgets, and the memory of what he
// ordered.
const maxBytesPerUser = 100

// heap gives the bytes that are in use.
func heap() float64 {
	runtime.GC()
	runtime.GC() // what the first one's finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// What a million users cost who press, press again and read, and how that stays as ten million come and
// go. The lines go to make bench-edge.
func TestBytesPerTrackedUser(t *testing.T) {
	if testing.Short() {
		t.Skip("eleven million users")
	}
	const users, rotating, day = 1_000_000, 10_000_000, int64(24 * time.Hour)
	cfg := testConfig()
	cfg.Limits.MaxTrackedUsers = users
	before := heap()
	s, err := newBareServer(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	rates := [userBudgets]ratelimit.Rate{}
	for kind, every := range []time.Duration{time.Second, time.Second, 100 * time.Millisecond} {
		rates[kind], _ = ratelimit.NewRate(every, 1)
	}
	sale, refused := []byte("1"), 0
	// come lets a user use so many of his budgets.
	come := func(i, budgets int, now int64) {
		user := "u" + strconv.Itoa(i)
		for kind, rate := range rates[:budgets] {
			if s.limiters.users.Take(s.hasher.User(user), kind, rate, now).Verdict != ratelimit.Allowed {
				refused++
			}
		}
		s.seen.Add(s.hasher.UserInSale(user, sale), now)
		s.asked.Add(s.hasher.UserInSale(user, sale), now)
	}
	for i := range users {
		come(i, userBudgets, day)
	}
	perUser := (heap() - before) / users
	if s.limiters.users.Len() != users || refused > 0 {
		t.Fatalf("%d users are tracked, %d refused", s.limiters.users.Len(), refused)
	}
	// A hundred thousand new ones a second, each active for a second. The sweeper comes every 10 s.
	peak, now := 0.0, day+int64(2*time.Second)
	for i := range rotating {
		now += int64(10 * time.Microsecond)
		come(users+i, 1, now)
		if i%users == users-1 {
			peak = max(peak, (heap()-before)/users)
			s.limiters.sweep(now)
		}
	}
	fmt.Printf("edge.bytes_per_tracked_user: %.1f\n", perUser)
	fmt.Printf("edge.bytes_per_tracked_user_rotating: %.1f\n", peak)
	if refused > 0 {
		t.Errorf("%d of those who came later were refused", refused)
	}
	if perUser > maxBytesPerUser || peak > maxBytesPerUser {
		t.Errorf("%.1f bytes a user, %.1f at the most while they rotate: more than %d", perUser, peak, maxBytesPerUser)
	}
	runtime.KeepAlive(s)
}
