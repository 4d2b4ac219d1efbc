//! What the sections of a module say that the compiled form does not: whether it has a start function, so that
//! instantiating it runs guest code, and how many functions it has.

/// The id of the start section.
const START: u8 = 8;
/// The id of the code section.
const CODE: u8 = 10;

/// A number in LEB128 of at most 32 bits, and what is behind it.
fn number(at: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0_usize;
    for (n, byte) in at.iter().take(5).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((number, at.get(n + 1..)?));
        }
    }
    None
}

/// A section: its id and its content.
type Section<'a> = (u8, &'a [u8]);

/// The sections of a module; `None` for one that cannot be read, which is the last one.
fn sections(module: &[u8]) -> impl Iterator<Item = Option<Section<'_>>> {
    fn next(at: &[u8]) -> Option<(Section<'_>, &[u8])> {
        let (id, rest) = at.split_first()?;
        let (size, rest) = number(rest)?;
        let (content, rest) = rest.split_at_checked(size)?;
        Some(((*id, content), rest))
    }
    let mut rest = module.get(8..);
    std::iter::from_fn(move || {
        let at = match rest {
            Some([]) => return None,
            at => at.map(next),
        };
        let section = at.flatten();
        // What is behind a section that cannot be read is unknown.
        rest = Some(section.map_or(&[][..], |(_, rest)| rest));
        Some(section.map(|(section, _)| section))
    })
}

/// Whether a module has a start function. A module whose sections cannot be read counts as one that has.
pub(super) fn has_start(module: &[u8]) -> bool {
    sections(module).any(|section| section.is_none_or(|(id, _)| id == START))
}

/// How many functions a module defines; 0 for one whose sections cannot be read.
pub fn functions(module: &[u8]) -> u32 {
    let code = sections(module).flatten().find(|(id, _)| *id == CODE);
    code.and_then(|(_, content)| number(content)).map_or(0, |(count, _)| u32::try_from(count).unwrap_or(u32::MAX))
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

    #[test]
    fn only_functions_with_a_body_are_counted() {
        let imports = r#"(import "env" "f" (func))"#;
        for n in [0, 1, 127, 128, 300] {
            let module = wasm(&format!("(module {imports} (memory 1) {})", "(func)".repeat(n)));
            assert_eq!(functions(&module), n as u32);
        }
        assert_eq!((functions(b""), functions(b"\0asm\x01\0\0\0\x0a\x05")), (0, 0));
    }
}
