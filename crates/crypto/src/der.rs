//! The little of DER (X.690) that keys, signatures and SM2 ciphertexts need. Strict: one value has one
//! encoding. (Signatures are taken in another form too, as R ‖ S.)

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_ID: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;

/// Contents of one element of less than 64 KiB, and what follows it. The length must be in its
/// shortest form.
pub(crate) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    let (len, shortest, rest) = match first {
        0..=0x7f => (usize::from(first), 0, rest),
        0x81 => rest.split_first().map(|(n, r)| (usize::from(*n), 0x80, r))?,
        0x82 => rest.split_first_chunk::<2>().map(|(n, r)| (usize::from(u16::from_be_bytes(*n)), 0x100, r))?,
        _ => return None,
    };
    if found == tag && len >= shortest { rest.split_at_checked(len) } else { None }
}

/// Contents of the one element that the bytes are; nothing may follow it.
pub(crate) fn whole(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (contents, []) = element(der, tag)? else { return None };
    Some(contents)
}

/// An INTEGER from zero to 256^N - 1, big-endian, and what follows it.
pub(crate) fn unsigned<const N: usize>(der: &[u8]) -> Option<([u8; N], &[u8])> {
    let (contents, rest) = element(der, INTEGER)?;
    let magnitude = match *contents {
        // A leading zero is there only to keep the number from being negative, or is the number zero.
        [0] => &[],
        [0, 0x80..=0xff, ..] => contents.get(1..)?,
        [1..=0x7f, ..] => contents,
        _ => return None,
    };
    let mut out = [0; N];
    out.get_mut(N.checked_sub(magnitude.len())?..)?.copy_from_slice(magnitude);
    Some((out, rest))
}

/// Appends one element of less than 64 KiB.
pub(crate) fn put(out: &mut Vec<u8>, tag: u8, contents: &[u8]) {
    out.push(tag);
    put_len(out, contents.len());
    out.extend_from_slice(contents);
}

/// Appends a non-negative INTEGER, given big-endian with any number of leading zeros.
pub(crate) fn put_unsigned(out: &mut Vec<u8>, number: &[u8]) {
    let first = number.iter().position(|b| *b != 0).unwrap_or(number.len());
    let magnitude = number.get(first..).unwrap_or_default();
    let sign = usize::from(magnitude.first().is_none_or(|b| *b >= 0x80));
    out.push(INTEGER);
    put_len(out, magnitude.len() + sign);
    out.extend_from_slice(&[0][..sign]);
    out.extend_from_slice(magnitude);
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    // What is written here is bounded by the API's limits, far below.
    #[expect(clippy::expect_used, reason = "a longer element would be a mistake in this crate")]
    let [high, low] = u16::try_from(len).expect("an element of less than 64 KiB").to_be_bytes();
    match len {
        0..=0x7f => out.push(low),
        0x80..=0xff => out.extend_from_slice(&[0x81, low]),
        _ => out.extend_from_slice(&[0x82, high, low]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_form() {
        for len in [0usize, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff] {
            let mut der = Vec::new();
            put(&mut der, OCTET_STRING, &vec![7; len]);
            assert_eq!(whole(&der, OCTET_STRING).unwrap().len(), len);
            assert_eq!(element(&[&der[..], &[9]].concat(), OCTET_STRING).unwrap().1, [9]);
            assert!(whole(&[&der[..], &[9]].concat(), OCTET_STRING).is_none());
            assert!(whole(&der, SEQUENCE).is_none());
            assert!(whole(&der[..der.len() - 1], OCTET_STRING).is_none());
        }
        for longer in
            [&[4, 0x81, 0][..], &[4, 0x81, 1, 0], &[4, 0x82, 0, 1, 0], &[4, 0x80, 0, 0], &[4, 0x83, 0, 0, 1, 0]]
        {
            assert!(whole(longer, OCTET_STRING).is_none(), "{longer:x?}");
        }
        let long = [&[4, 0x82, 0, 0xff][..], &[0; 0xff]].concat();
        assert!(whole(&long, OCTET_STRING).is_none());
        assert!(whole(&[], SEQUENCE).is_none());
        assert!(whole(&[0x30], SEQUENCE).is_none());
    }

    #[test]
    fn integers_have_one_form_and_no_sign() {
        for (der, number) in [
            (&[2, 1, 0][..], 0u32),
            (&[2, 1, 1], 1),
            (&[2, 1, 0x7f], 0x7f),
            (&[2, 2, 0, 0x80], 0x80),
            (&[2, 2, 1, 0], 0x100),
            (&[2, 5, 0, 0xff, 0xff, 0xff, 0xff], u32::MAX),
        ] {
            assert_eq!(unsigned::<4>(der), Some((number.to_be_bytes(), &[][..])));
            let mut made = Vec::new();
            put_unsigned(&mut made, &number.to_be_bytes());
            assert_eq!(made, der);
        }
        for wrong in [
            &[2, 0][..],                  // no digit
            &[2, 1, 0x80],                // negative
            &[2, 2, 0xff, 0xff],          // negative, padded
            &[2, 2, 0, 0x7f],             // padded
            &[2, 2, 0, 0],                // padded zero
            &[2, 3, 0, 0, 0x80],          // padded twice
            &[2, 5, 1, 0, 0, 0, 0],       // too large
            &[2, 6, 0, 0x80, 0, 0, 0, 0], // too large
            &[4, 1, 1],                   // not an INTEGER
        ] {
            assert_eq!(unsigned::<4>(wrong), None, "{wrong:x?}");
        }
        assert_eq!(unsigned::<2>(&[2, 1, 5, 9]), Some(([0, 5], &[9][..])));
    }
}
