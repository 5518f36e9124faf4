//! The cursor of an audit export: any bytes are refused, or are a cursor that is written and read as the same.
use jadeseal_export::cursor::Cursor;

/// One input: the content of the file.
pub fn run(data: &[u8]) {
    if let Ok(cursor) = Cursor::parse(data) {
        assert_eq!(Cursor::parse(cursor.text().as_bytes()), Ok(cursor));
    }
}
