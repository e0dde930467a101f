package sale

import "net/netip"

// MaxAddressBytes bounds the text of an address or network.
const MaxAddressBytes = 64

// ParseNetwork reads an IP address, which gives a network of one, or a network such as 192.0.2.0/24,
// with its host bits cleared. There is one text for each network (see NetworkText), so that a ban and
// its removal name the same: no port, no zone, and no IPv4 network in IPv6 form. Errors are *FieldError
// of the field "address".
func ParseNetwork(text string) (netip.Prefix, error) {
	if len(text) > MaxAddressBytes {
		return netip.Prefix{}, fieldError("address", "must be at most %d bytes", MaxAddressBytes)
	}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		if prefix.Addr().Is4In6() {
			return netip.Prefix{}, fieldError("address", "write an IPv4 network in its IPv4 form")
		}
		return prefix.Masked(), nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fieldError("address", "must be an IP address or a network such as 192.0.2.0/24")
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// NetworkText is the one text of a network that ParseNetwork gave: one address is written without a
// length.
func NetworkText(network netip.Prefix) string {
	if network.IsSingleIP() {
		return network.Addr().String()
	}
	return network.String()
}
