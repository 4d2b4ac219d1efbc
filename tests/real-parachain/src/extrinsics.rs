//! Signed extrinsics.

use crate::keys::Key;
use codec::Encode;
use cumulus_primitives_core::{Location, Xcm};
use frame_support::{dispatch::Callable, traits::SignedTransactionBuilder};
use frame_system as system;
use penpal_runtime::{PolkadotXcm, Runtime, RuntimeCall, TxExtension, UncheckedExtrinsic, VERSION};
use sp_core::H256;
use sp_runtime::{
    AccountId32, MultiAddress,
    generic::{Era, SignedPayload},
};
use std::collections::BTreeMap;

/// The pallet that sends XCM is under the GPL, so it is not named as a dependency: its calls come through the
/// runtime's type.
type XcmCall = <PolkadotXcm as Callable<Runtime>>::RuntimeCall;

/// Signs, and counts each account's transactions.
pub struct Signer {
    genesis: H256,
    nonces: BTreeMap<AccountId32, u32>,
}

impl Signer {
    /// For the chain with the given genesis block.
    pub fn new(genesis: H256) -> Self {
        Self { genesis, nonces: BTreeMap::new() }
    }

    /// The account's next transaction.
    pub fn sign(&mut self, key: &Key, call: RuntimeCall) -> UncheckedExtrinsic {
        let account = key.account();
        let nonce = self.nonces.entry(account.clone()).or_default();
        let extension: TxExtension = (
            system::AuthorizeCall::new(),
            system::CheckNonZeroSender::new(),
            system::CheckSpecVersion::new(),
            system::CheckTxVersion::new(),
            system::CheckGenesis::new(),
            system::CheckEra::from(Era::Immortal),
            system::CheckNonce::from(*nonce),
            system::CheckWeight::new(),
            pallet_asset_conversion_tx_payment::ChargeAssetTxPayment::from(0, None),
            frame_metadata_hash_extension::CheckMetadataHash::new(false),
            Default::default(),
            system::WeightReclaim::new(),
        );
        *nonce += 1;
        // What is signed but not sent. Given here, not read from the state: the first block has no genesis hash yet.
        let (spec, transaction) = (VERSION.spec_version, VERSION.transaction_version);
        let implicit = ((), (), spec, transaction, self.genesis, self.genesis, (), (), (), None, (), ());
        let payload = SignedPayload::<RuntimeCall, TxExtension>::from_raw(call, extension, implicit);
        let signature = payload.using_encoded(|bytes| key.sign(bytes));
        let (call, extension, _) = payload.deconstruct();
        UncheckedExtrinsic::new_signed_transaction(call, MultiAddress::Id(account), signature, extension)
    }
}

/// Moves money.
pub fn transfer(to: AccountId32, value: u128) -> RuntimeCall {
    RuntimeCall::Balances(pallet_balances::Call::transfer_allow_death { dest: MultiAddress::Id(to), value })
}

/// Bytes in the block, to no effect.
pub fn remark(remark: Vec<u8>) -> RuntimeCall {
    RuntimeCall::System(system::Call::remark { remark })
}

/// Runs the call as root.
pub fn sudo(call: RuntimeCall) -> RuntimeCall {
    RuntimeCall::Sudo(pallet_sudo::Call::sudo { call: Box::new(call) })
}

/// Sends XCM.
pub fn send_xcm(to: Location, message: Xcm<()>) -> RuntimeCall {
    RuntimeCall::PolkadotXcm(XcmCall::send { dest: Box::new(to.into()), message: Box::new(From::from(message)) })
}

/// Sends bytes to the relay chain, whatever they are.
pub fn send_upward(message: Vec<u8>) -> RuntimeCall {
    RuntimeCall::ParachainSystem(cumulus_pallet_parachain_system::Call::sudo_send_upward_message { message })
}

/// Asks for the runtime to be replaced; reads the new one's version.
pub fn set_code(code: Vec<u8>) -> RuntimeCall {
    RuntimeCall::System(system::Call::set_code { code })
}
