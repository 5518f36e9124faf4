"""DER (X.690) as strict as the standard: what a client that takes nothing else would read."""

INTEGER, BIT_STRING, OCTET_STRING, SEQUENCE = 0x02, 0x03, 0x04, 0x30


def put(tag, content):
    """One element."""
    size = len(content)
    length = bytes([size]) if size < 0x80 else b""
    if size >= 0x80:
        octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
        length = bytes([0x80 | len(octets)]) + octets
    return bytes([tag]) + length + content


def unsigned(value):
    """A non-negative INTEGER."""
    return put(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def read(data, tag):
    """The content of the first element and what follows it; the length must be in its shortest form."""
    assert len(data) >= 2 and data[0] == tag, f"no element with tag {tag:#x}"
    size, at = data[1], 2
    if size >= 0x80:
        count = size & 0x7F
        assert 1 <= count <= 4, "indefinite or oversized length"
        size, at = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
        assert size >= 0x80 and data[2] != 0, "the length is not in its shortest form"
    assert len(data) >= at + size, "the element is cut off"
    return data[at : at + size], data[at + size :]


def whole(data, tag):
    """The content of an element that nothing follows."""
    content, rest = read(data, tag)
    assert rest == b"", "bytes follow the element"
    return content


def read_unsigned(data):
    """A non-negative INTEGER in its shortest form, and what follows it."""
    content, rest = read(data, INTEGER)
    assert content and content[0] < 0x80, "the integer is empty or negative"
    assert len(content) == 1 or content[0] != 0 or content[1] >= 0x80, "the integer is not in its shortest form"
    return int.from_bytes(content, "big"), rest


def signature(data):
    """R and S of an ECDSA or SM2 signature."""
    r, rest = read_unsigned(whole(data, SEQUENCE))
    s, rest = read_unsigned(rest)
    assert rest == b"", "a third member in a signature"
    return r, s
