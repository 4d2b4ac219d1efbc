//! The expected result of `validate_block`, from the runtime's storage after a block.

use crate::linked::Linked;
use codec::{Decode, Encode};
use cumulus_pallet_parachain_system::{
    CustomValidationHeadData, HrmpOutboundMessages, HrmpWatermark, NewValidationCode, ProcessedDownwardMessages,
    UpwardMessages,
};
use cumulus_primitives_core::relay_chain::UMP_SEPARATOR;

/// The layout of a PVF's argument.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ValidationParams {
    /// Head data of the parent.
    pub parent_head: Vec<u8>,
    /// The block, decompressed.
    pub block_data: Vec<u8>,
    /// Number of the relay parent.
    pub relay_parent_number: u32,
    /// Storage root of the relay parent.
    pub relay_parent_storage_root: [u8; 32],
}

/// The layout of a PVF's result.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct ValidationResult {
    /// The new head data.
    pub head_data: Vec<u8>,
    /// The new validation code that the parachain requests.
    pub new_validation_code: Option<Vec<u8>>,
    /// Messages to the relay chain; behind a separator, signals to it, if there are any.
    pub upward_messages: Vec<Vec<u8>>,
    /// Messages to other parachains, by recipient.
    pub horizontal_messages: Vec<(u32, Vec<u8>)>,
    /// Number of processed downward messages.
    pub processed_downward_messages: u32,
    /// Relay chain block up to which messages from other parachains were processed.
    pub hrmp_watermark: u32,
}

/// Accumulates the result over the blocks of a PoV.
#[derive(Default)]
pub struct Accumulated {
    result: ValidationResult,
    signals: Vec<Vec<u8>>,
}

impl Accumulated {
    /// Adds the block whose state the current externalities contain.
    pub fn add_block<R: Linked>(&mut self, head: Vec<u8>) {
        let result = &mut self.result;
        let mut upward = UpwardMessages::<R>::get().into_iter();
        result.upward_messages.extend(upward.by_ref().take_while(|message| *message != UMP_SEPARATOR));
        self.signals.extend(upward);
        let horizontal = HrmpOutboundMessages::<R>::get().into_iter();
        result.horizontal_messages.extend(horizontal.map(|message| (message.recipient.into(), message.data)));
        result.processed_downward_messages += ProcessedDownwardMessages::<R>::get();
        result.hrmp_watermark = HrmpWatermark::<R>::get();
        result.head_data = CustomValidationHeadData::<R>::get().unwrap_or(head);
        if result.new_validation_code.is_none() {
            result.new_validation_code = NewValidationCode::<R>::get();
        }
    }

    /// The result. Signals follow all messages; only the last block of a PoV has signals.
    pub fn finish(mut self) -> ValidationResult {
        if !self.signals.is_empty() {
            self.result.upward_messages.push(UMP_SEPARATOR);
            self.result.upward_messages.append(&mut self.signals);
        }
        self.result.horizontal_messages.sort_by_key(|(recipient, _)| *recipient);
        self.result
    }
}
