//! Signed extrinsics.

use crate::keys::Key;
use codec::Encode;
use cumulus_primitives_core::{Location, Xcm};
use frame_support::{dispatch::Callable, traits::SignedTransactionBuilder, weights::Weight};
use frame_system as system;
use penpal_runtime::{PolkadotXcm, Revive, Runtime, RuntimeCall, TxExtension, UncheckedExtrinsic, Utility, VERSION};
use sp_core::H256;
use sp_runtime::{
    AccountId32, MultiAddress,
    generic::{Era, SignedPayload},
};
use std::collections::BTreeMap;

/// The calls of the pallet that sends XCM, by way of the runtime's type: the pallet is under the GPL, so it must not be
/// a direct dependency.
type XcmCall = <PolkadotXcm as Callable<Runtime>>::RuntimeCall;
/// The calls of the pallet with contracts.
type ReviveCall = <Revive as Callable<Runtime>>::RuntimeCall;
/// The calls of the pallet that combines calls.
type UtilityCall = <Utility as Callable<Runtime>>::RuntimeCall;

/// Signs extrinsics, and keeps the nonce of each account.
pub struct Signer {
    genesis: H256,
    nonces: BTreeMap<AccountId32, u32>,
}

impl Signer {
    /// A signer for the chain with this genesis block.
    pub fn new(genesis: H256) -> Self {
        Self { genesis, nonces: BTreeMap::new() }
    }

    /// The next extrinsic of the key's account.
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
        // Signed but not sent. Not read from the state, which has no genesis hash before the first block.
        let (spec, transaction) = (VERSION.spec_version, VERSION.transaction_version);
        let implicit = ((), (), spec, transaction, self.genesis, self.genesis, (), (), (), None, (), ());
        let payload = SignedPayload::<RuntimeCall, TxExtension>::from_raw(call, extension, implicit);
        let signature = payload.using_encoded(|bytes| key.sign(bytes));
        let (call, extension, _) = payload.deconstruct();
        UncheckedExtrinsic::new_signed_transaction(call, MultiAddress::Id(account), signature, extension)
    }
}

/// Transfers an amount.
pub fn transfer(to: AccountId32, value: u128) -> RuntimeCall {
    RuntimeCall::Balances(pallet_balances::Call::transfer_allow_death { dest: MultiAddress::Id(to), value })
}

/// Puts bytes into the block, without effect.
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

/// Sends arbitrary bytes to the relay chain.
pub fn send_upward(message: Vec<u8>) -> RuntimeCall {
    RuntimeCall::ParachainSystem(cumulus_pallet_parachain_system::Call::sudo_send_upward_message { message })
}

/// Requests an upgrade of the runtime; the call reads the version of the new one.
pub fn set_code(code: Vec<u8>) -> RuntimeCall {
    RuntimeCall::System(system::Call::set_code { code })
}

/// Makes the account that signs usable for contracts.
pub fn map_account() -> RuntimeCall {
    RuntimeCall::Revive(ReviveCall::map_account {})
}

/// Runs a contract's constructor for `account`, as root and without a limit of its weight.
pub fn instantiate(account: AccountId32, code: Vec<u8>) -> RuntimeCall {
    let call = RuntimeCall::Revive(ReviveCall::instantiate_with_code {
        value: 0,
        weight_limit: Weight::MAX,
        storage_deposit_limit: u128::MAX,
        code,
        data: Vec::new(),
        salt: None,
    });
    let origin = system::RawOrigin::Signed(account);
    let call =
        RuntimeCall::Utility(UtilityCall::dispatch_as { as_origin: Box::new(origin.into()), call: Box::new(call) });
    RuntimeCall::Sudo(pallet_sudo::Call::sudo_unchecked_weight { call: Box::new(call), weight: Weight::zero() })
}
