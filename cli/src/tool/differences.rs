//! What in a code makes hosts of other versions decide otherwise, so that nodes may disagree about it. `pvf precheck`
//! warns of it; what this build itself decides is the verdict.

use std::collections::BTreeMap;
use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload, TypeRef};

/// The most targets of a `br_table`, besides the default one, that wasmtime 36.0.19 and later compile.
const MAX_TARGETS: u32 = 65_520;
/// Functions that are named one by one.
const NAMED: usize = 10;

/// A warning for each function of this wasm that hosts of other versions may judge differently. What does not parse has
/// none: no version accepts it.
pub(crate) fn warnings(code: &[u8]) -> Vec<String> {
    let Ok(large) = large_tables(code) else { return vec![] };
    let mut warnings: Vec<_> = large
        .iter()
        .take(NAMED)
        .map(|(function, targets)| {
            format!(
                "function {function} has a br_table with {targets} targets: wasmtime 36.0.19 and later refuse more than \
                 {MAX_TARGETS}, earlier versions accept it, so nodes may disagree about this code"
            )
        })
        .collect();
    if large.len() > NAMED {
        warnings.push(format!("so have {} more functions", large.len() - NAMED));
    }
    warnings
}

/// The functions with a `br_table` over [`MAX_TARGETS`], by their index, each with the targets of its largest one.
fn large_tables(code: &[u8]) -> Result<BTreeMap<u32, u32>, BinaryReaderError> {
    let mut found = BTreeMap::new();
    // Imported functions come first in the index space.
    let mut function = 0;
    for payload in Parser::new(0).parse_all(code) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports {
                    function += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::CodeSectionEntry(body) => {
                let targets = most_targets(&body)?;
                if targets > MAX_TARGETS {
                    found.insert(function, targets);
                }
                function += 1;
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The targets of the largest `br_table` of a function, reachable or not.
fn most_targets(body: &FunctionBody<'_>) -> Result<u32, BinaryReaderError> {
    let mut most = 0;
    for operator in body.get_operators_reader()? {
        if let Operator::BrTable { targets } = operator? {
            most = most.max(targets.len());
        }
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function with a `br_table` of so many targets.
    fn function(targets: u32) -> String {
        let targets = "0 ".repeat(targets as usize);
        format!("(func (param i32) (block (br_table {targets} 0 (local.get 0))))")
    }

    fn warnings_of(functions: &str) -> Vec<String> {
        let text = format!(r#"(module (import "env" "a" (func)) (import "env" "m" (memory 1)) {functions})"#);
        warnings(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn each_function_with_too_large_a_br_table_is_named_with_its_largest() {
        assert_eq!(warnings_of(&function(MAX_TARGETS)), [""; 0]);
        // Index 0 is the imported function.
        let [warning] = &warnings_of(&(function(1) + &function(MAX_TARGETS + 1)))[..] else { panic!("one warning") };
        assert!(warning.starts_with("function 2 has a br_table with 65521 targets"), "{warning}");
        let unreachable = function(70_000).replace("(block", "(return) (block");
        let [warning] = &warnings_of(&unreachable)[..] else { panic!("one warning") };
        assert!(warning.starts_with("function 1 has a br_table with 70000 targets"), "{warning}");
        let many = warnings_of(&function(MAX_TARGETS + 1).repeat(NAMED + 3));
        assert_eq!((many.len(), many[NAMED].as_str()), (NAMED + 1, "so have 3 more functions"));
    }

    #[test]
    fn what_does_not_parse_has_no_warning() {
        assert_eq!(warnings(b"not wasm"), [""; 0]);
        let code = wat::parse_str(format!("(module {})", function(70_000))).unwrap();
        assert_eq!(warnings(&code).len(), 1);
        assert_eq!(warnings(&code[..code.len() - 1]), [""; 0]);
    }
}
