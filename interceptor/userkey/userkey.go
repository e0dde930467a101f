package userkey

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Slots is the number of slots that keys fall into.
const Slots = 1 << 16

const slotShift = 48

// Slot is the part of a key that depends on its user alone.
func Slot(key uint64) uint16 { return uint16(key >> slotShift) }

// Hasher makes keys. It is a value, and safe for concurrent use.
type Hasher struct{ k0, k1 uint64 }

// New derives a Hasher from a secret. Hashers of the same secret agree; the secret cannot be found from
// keys.
func New(secret []byte) Hasher {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("headgate-user-key-v1"))
	sum := mac.Sum(nil)
	return Hasher{k0: binary.LittleEndian.Uint64(sum), k1: binary.LittleEndian.Uint64(sum[8:])}
}

// Fingerprint tells Hashers of different secrets apart. It is not a user's key, and not for showing.
func (h Hasher) Fingerprint() []byte {
	return binary.BigEndian.AppendUint64(nil, sum64(^h.k0, ^h.k1, "headgate-user-key-fingerprint"))
}

// User is the key of a user.
func (h Hasher) User(user string) uint64 { return sum64(h.k0, h.k1, user) }

// UserInSale is the key of a user in one sale, in the slot of the user.
func (h Hasher) UserInSale(user string, sale []byte) uint64 {
	own := h.User(user)
	// The user's key takes part as a whole, so that "a" in "bc" differs from "ab" in "c".
	mixed := sum64(h.k0^own, h.k1, sale)
	return own>>slotShift<<slotShift | mixed>>(64-slotShift)
}

// sum64 is SipHash-2-4 of the text.
func sum64[T string | []byte](k0, k1 uint64, text T) uint64 {
	v0, v1 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d
	v2, v3 := k0^0x6c7967656e657261, k1^0x7465646279746573
	length := len(text)
	for ; len(text) >= 8; text = text[8:] {
		word := uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24 |
			uint64(text[4])<<32 | uint64(text[5])<<40 | uint64(text[6])<<48 | uint64(text[7])<<56
		v3 ^= word
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
		v0 ^= word
	}
	last := uint64(length) << 56
	for i := range len(text) {
		last |= uint64(text[i]) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xff
	for range 4 {
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
	}
	return v0 ^ v1 ^ v2 ^ v3
}

func round(v0, v1, v2, v3 uint64) (_, _, _, _ uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
