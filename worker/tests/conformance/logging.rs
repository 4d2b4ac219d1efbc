//! The host interface `logging`.

use crate::{
    call::{Output, host_functions, slice, word},
    guest::Random,
};
use pvf_shared::params::ExecutorParam;

const PARAMS: &[ExecutorParam] = &[];

host_functions! {
    ext_logging_log_version_1 -> Output::Nothing, |it| {
        for level in 0..=4 {
            for message in [vec![], b"message".to_vec(), vec![0xff], Random(2).bytes(1 << 20)] {
                let case = format!("level {level}, {} bytes", message.len());
                it.outputs(&case, &[word(level), slice(b"target"), slice(message)], b"").await;
            }
        }
        it.outputs("an empty target", &[word(0), slice(b""), slice(b"message")], b"").await;
        it.outputs("a level of more than one byte", &[word(0x104), slice(b""), slice(b"")], b"").await;
        for level in [5, 9, 255] {
            let case = format!("level {level}");
            it.rejects(&case, &[word(level), slice(b"target"), slice(b"message")], "failed to convert 'u8'").await;
        }
        let target = [word(3), slice([0xff]), slice(b"message")];
        it.rejects("a target that is not UTF-8", &target, "not valid UTF-8").await;
        let beyond = [word(3), slice(b"target"), word(0x1_ffff_fff0)];
        it.rejects("a message beyond memory", &beyond, "memory read is out of bounds").await;
    }
    ext_logging_max_level_version_1 -> Output::Nothing, |it| {
        // The level of errors, which is the default of the Polkadot node's workers. There is no logger, so nothing is
        // shown.
        let it = it.without_native();
        it.returns("the level of errors", &[], 1).await;
    }
}
