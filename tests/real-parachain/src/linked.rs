//! What the recipe needs of a runtime that is linked natively, so that blocks of several runtimes are authored and
//! validated by the same code.

use crate::Header;
use frame_support::traits::{ExecuteBlock, Get};
use frame_system as system;
use sp_block_builder::runtime_decl_for_block_builder::BlockBuilderV6;
use sp_consensus_aura::{runtime_decl_for_aura_api::AuraApiV1, sr25519::AuthorityId};
use sp_core::storage::StateVersion;
use sp_genesis_builder::runtime_decl_for_genesis_builder::GenesisBuilderV1;
use sp_runtime::traits::Block as BlockT;

/// A block of the runtime.
pub type BlockOf<R> = <R as system::Config>::Block;
/// An extrinsic of the runtime.
pub type ExtrinsicOf<R> = <BlockOf<R> as BlockT>::Extrinsic;

/// A parachain's runtime with Aura.
pub trait Linked:
    cumulus_pallet_parachain_system::Config
    + system::Config<Block: BlockT<Header = Header>>
    + AuraApiV1<BlockOf<Self>, AuthorityId>
    + BlockBuilderV6<BlockOf<Self>>
    + GenesisBuilderV1<BlockOf<Self>>
{
    /// Checks the seal of a block, and executes it.
    type Executor: ExecuteBlock<BlockOf<Self>>;

    /// Begins a block.
    fn initialize(header: &Header);

    /// The layout of the state's trie.
    fn state_version() -> StateVersion {
        <Self as system::Config>::Version::get().state_version()
    }
}

impl Linked for penpal_runtime::Runtime {
    type Executor = cumulus_pallet_aura_ext::BlockExecutor<Self, penpal_runtime::Executive>;

    fn initialize(header: &Header) {
        penpal_runtime::Executive::initialize_block(header);
    }
}

impl Linked for asset_hub_westend_runtime::Runtime {
    type Executor = cumulus_pallet_aura_ext::BlockExecutor<Self, asset_hub_westend_runtime::Executive>;

    fn initialize(header: &Header) {
        asset_hub_westend_runtime::Executive::initialize_block(header);
    }
}
