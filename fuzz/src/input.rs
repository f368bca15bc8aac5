//! Taking an input apart.

/// What is left of an input.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// 0 at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A length of two bytes and as much, or what there is.
    pub(crate) fn part(&mut self) -> &'a [u8] {
        let length = usize::from(u16::from_le_bytes([self.byte(), self.byte()]));
        let (part, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        part
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// A part as [`Input::part`] takes it.
pub(crate) fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    let length = u16::try_from(part.len()).expect("seeds are small");
    out.extend(length.to_le_bytes());
    out.extend_from_slice(part);
}
