//! Whether a module has a start function, so that instantiating it runs guest code. The compiled form does not tell.

/// The id of the start section.
const START: u8 = 8;

/// Whether a module has a start function. A module whose sections cannot be read counts as one that has.
pub(super) fn has_start(mut module: &[u8]) -> bool {
    /// The next section's id, and the bytes behind the section.
    fn next(at: &[u8]) -> Option<(u8, &[u8])> {
        let (id, rest) = at.split_first()?;
        let mut size = 0_usize;
        for (n, byte) in rest.iter().take(5).enumerate() {
            size |= usize::from(byte & 0x7f) << (7 * n);
            if byte & 0x80 == 0 {
                return Some((*id, rest.get(n + 1..)?.get(size..)?));
            }
        }
        None
    }
    let Some(sections) = module.get(8..) else { return true };
    module = sections;
    while !module.is_empty() {
        match next(module) {
            Some((START, _)) | None => return true,
            Some((_, rest)) => module = rest,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wasm(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn only_a_start_section_is_a_start_function() {
        assert!(has_start(&wasm("(module (func $f) (start $f))")));
        // An export of that name, and data that looks like a start section.
        let none = wasm(r#"(module (memory 1) (func (export "start")) (data (i32.const 0) "\08\01\00"))"#);
        assert!(!has_start(&none));
        assert!(!has_start(&wasm("(module)")));
        assert!(has_start(&none[..none.len() - 1]) && has_start(b"\0asm"), "unreadable");
    }
}
