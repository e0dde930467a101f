// Package userkey turns a user, or a user in a sale, into a 64-bit key under a secret that all edges
// share, so that they agree on the user's owner and can hand over what they keep of him without ever
// sending a name, and so that nobody outside can choose users that collide.
//
// The first 16 bits of a key, its slot, depend on the user alone: whatever is kept of one user, in
// whichever sale, has the same slot and therefore the same owner. The other 48 tell keys apart.
//
// The hash is SipHash-2-4 (Aumasson and Bernstein, 2012), which is made for this: short inputs, a
// secret key, no collisions for who does not know it. It allocates nothing.
package userkey
