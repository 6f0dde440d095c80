//! The one bounds-checked cursor over network bytes; nothing else indexes them.

/// A field reaches beyond the bytes that hold it, or bytes are left after the last field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun;

/// Reads integers (network byte order unless the name says `le`) and slices from the front.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Overrun> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Overrun)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes, by value.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Overrun> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Overrun)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A cursor over the next `len` bytes alone.
    pub fn sub(&mut self, len: usize) -> Result<Reader<'a>, Overrun> {
        Ok(Reader::new(self.take(len)?))
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Overrun> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self) -> Result<u16, Overrun> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Two bytes, little-endian.
    pub fn u16_le(&mut self) -> Result<u16, Overrun> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Three bytes, big-endian (TLS handshake lengths).
    pub fn u24(&mut self) -> Result<u32, Overrun> {
        let [high, middle, low] = self.array()?;
        Ok(u32::from_be_bytes([0, high, middle, low]))
    }

    /// Four bytes, little-endian.
    pub fn u32_le(&mut self) -> Result<u32, Overrun> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    pub fn u64_le(&mut self) -> Result<u64, Overrun> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// All that is left; the cursor is then at the end.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Whether every byte has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses bytes after the last field.
    pub fn finish(self) -> Result<(), Overrun> {
        if self.rest.is_empty() { Ok(()) } else { Err(Overrun) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_read_is_checked_and_the_end_is_exact() {
        let mut reader = Reader::new(&[1, 0, 2, 3, 0, 0, 1, 9, 9]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u16_le(), Ok(3));
        assert_eq!(reader.u24(), Ok(0x000109));
        assert_eq!(reader.take(2), Err(Overrun));
        assert_eq!(reader.finish(), Err(Overrun));
        assert_eq!(reader.rest(), &[9]);
        assert_eq!(reader.finish(), Ok(()));
    }
}
