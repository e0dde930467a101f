package interceptor

import (
	"strconv"
	"sync"
	"testing"
)

func TestCrowdWithDoublePresses(t *testing.T) {
	const buyers, stock = 300, 40
	e := newEdge(t, nil)
	e.counter.change(func() { e.counter.sales["1"].Stock, e.counter.sales["1"].Available = stock, stock })
	e.fresh()
	codes := map[string]int{}
	orders := map[string]string{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for i := range buyers {
		user := "u" + strconv.Itoa(i)
		presses := 1 + i%5/4
		token := e.token(user)
		for range presses {
			group.Go(func() {
				a, err := e.trySend("POST", "/api/sales/1/orders", `{"quantity":1}`, "Authorization", "Bearer "+token)
				if err != nil {
					t.Errorf("%s: %v", user, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if a.status == 202 {
					codes["202"]++
					orders[a.body.OrderID] = user
				} else {
					codes[a.body.Code]++
				}
			})
		}
	}
	group.Wait()
	if len(orders) != stock || e.counter.confirmed() != stock {
		t.Errorf("%d orders told, %d confirmed, want %d: %v", len(orders), e.counter.confirmed(), stock, codes)
	}
	users := map[string]bool{}
	for _, user := range orders {
		if users[user] {
			t.Errorf("%s has two orders", user)
		}
		users[user] = true
	}
	for code := range codes {
		switch code {
		case "202", "sold_out", "too_soon", "already_ordered":
		default:
			t.Errorf("%d buyers were told %q", codes[code], code)
		}
	}
}
