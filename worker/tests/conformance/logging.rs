//! The interface `logging`.

use crate::{
    call::{Gives, host_functions, slice, word},
    guest::Random,
};
use pvf_shared::params::ExecutorParam;

const PARAMS: &[ExecutorParam] = &[];

host_functions! {
    ext_logging_log_version_1 gives Gives::Nothing, |it| {
        for level in 0..=4 {
            for message in [vec![], b"message".to_vec(), vec![0xff], Random(2).bytes(1 << 20)] {
                let case = format!("level {level}, {} bytes", message.len());
                it.gives(&case, &[word(level), slice(b"target"), slice(message)], b"").await;
            }
        }
        it.gives("an empty target", &[word(0), slice(b""), slice(b"message")], b"").await;
        it.gives("only the lowest byte of a level counts", &[word(0x104), slice(b""), slice(b"")], b"").await;
        for level in [5, 9, 255] {
            let case = format!("level {level}");
            it.refuses(&case, &[word(level), slice(b"target"), slice(b"message")], "failed to convert 'u8'").await;
        }
        let target = [word(3), slice([0xff]), slice(b"message")];
        it.refuses("a target that is no text", &target, "not valid UTF-8").await;
        let beyond = [word(3), slice(b"target"), word(0x1_ffff_fff0)];
        it.refuses("a message beyond memory", &beyond, "memory read is out of bounds").await;
    }
    ext_logging_max_level_version_1 gives Gives::Nothing, |it| {
        // Of errors, as in the existing host's workers unless their operator says otherwise. Nothing is shown.
        let it = it.without_native();
        it.says("what a job shows", &[], 1).await;
    }
}
