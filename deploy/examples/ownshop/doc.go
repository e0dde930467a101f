// Command ownshop is a shop of one's own behind Headgate's edge, in the place of our backend, queue and
// consumer. It needs nothing of Headgate's but a Redis client and HMAC-SHA256, so that it reads as well
// in any other language.
//
// shop.go is the whole agreement with the edge and the counter:
//
//   - an order comes with a ticket, which is verified and is what counts: order id, sale, user, quantity;
//   - it is on disk before anything is answered, and a repeated id finds what became of it;
//   - it is final once the counter has CONFIRMed it; expired or released, it is undone;
//   - 2xx: taken; Headgate-Outcome refused: certainly not; anything else: nobody knows yet;
//   - an order that is freed is freed on disk first, and then RELEASEd until the counter has heard it;
//   - what was on its way when the shop died is carried on by settle.
//
// It believes Headgate-User, so that only edges may reach it: keep it in a private network, or verify
// Headgate-Hop as lib/auth does.
package main
