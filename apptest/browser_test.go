package apptest

import (
	"slices"
	"strings"
	"testing"

	"headgate.example/apptest/browser"
	"headgate.example/apptest/programs"
)

// TestBrowser buys on the shop page as a new customer does, in a window as narrow as a phone's: make an
// account, press the button, see the order become reserved, pay it.
func TestBrowser(t *testing.T) {
	chromium := need(t, "HEADGATE_TEST_CHROMIUM")
	driver := needProgram(t, "chromedriver")
	dev := programs.NewDev(t, bin, nil)
	dev.Start()

	page := browser.Open(t, driver, chromium, 390, 844)
	page.Go(dev.Edge + "/")
	page.Wait(patience, "sale 1 is shown and open", `document.querySelector(".card .badge.open")`)
	page.Wait(patience, "sale 2 counts down", `document.querySelector(".card .badge.upcoming")`)
	var wide bool
	page.Eval(&wide, "return document.documentElement.scrollWidth > window.innerWidth")
	if wide {
		t.Error("the page is wider than a phone")
	}

	page.Click("#sign-in")
	page.Click("#account-switch")
	page.Type("#account-user", "carol")
	page.Type("#account-password", "correct horse battery")
	page.Click("#account-submit")
	page.Wait(patience, "carol is signed in", `document.querySelector("#account-name").textContent === "carol"`)

	const button = `[...document.querySelectorAll(".card")].find(c => c.querySelector(".badge.open")).querySelector(".button.primary")`
	page.Wait(patience, "the button can be pressed", button+`.textContent === "Buy now" && !`+button+`.disabled`)
	page.Eval(nil, button+`.scrollIntoView(); `+button+`.click(); `+button+`.click()`) // pressed twice
	page.Wait(patience, "the order is reserved", `document.querySelector(".order .badge.unpaid")`)

	m := devMarket(t, dev)
	orders := m.orders(t, "1")
	if len(orders) != 1 || orders[0].State != "unpaid" || orders[0].Quantity != 1 {
		t.Errorf("the ledger has %+v, want one unpaid order of one unit", orders)
	}
	page.Click(`.order .button.primary`) // pay
	page.Wait(patience, "the sandbox's pay page", `document.querySelector("#pay") && !document.querySelector("#pay").disabled`)
	page.Click("#pay")
	page.Wait(patience, "the sandbox has the money", `document.body.dataset.state === "paid"`)
	page.Click(`a[href="/"]`)
	page.Wait(patience, "the order is paid", `document.querySelector(".order .badge.paid")`)
	if orders = m.orders(t, "1"); len(orders) != 1 || orders[0].State != "paid" {
		t.Errorf("the ledger has %+v, want one paid order", orders)
	}
	errors := slices.DeleteFunc(page.Errors(), func(line string) bool {
		return strings.Contains(line, "401") // asking for one's orders before signing in
	})
	if len(errors) > 0 {
		t.Errorf("the page wrote errors:\n%s", strings.Join(errors, "\n"))
	}
}
