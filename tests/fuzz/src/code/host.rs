//! Host functions as a guest imports them: name, parameters and result. `p`: a pointer; `f`: a pointer and a length;
//! `n`: a number of 32 bits; `N`: of 64.

/// A host function.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) params: &'static str,
    pub(super) result: Option<char>,
}

const fn f(name: &'static str, params: &'static str, result: Option<char>) -> Function {
    Function { name, params, result }
}

/// Those of consensus, one of RFC 163, and a few that the host does not have.
pub(super) const FUNCTIONS: &[Function] = &[
    f("ext_allocator_malloc_version_1", "n", Some('p')),
    f("ext_allocator_free_version_1", "p", None),
    f("ext_misc_print_num_version_1", "N", None),
    f("ext_misc_print_utf8_version_1", "f", None),
    f("ext_misc_print_hex_version_1", "f", None),
    f("ext_misc_runtime_version_version_1", "f", Some('f')),
    f("ext_logging_log_version_1", "nff", None),
    f("ext_logging_max_level_version_1", "", Some('n')),
    f("ext_hashing_keccak_256_version_1", "f", Some('p')),
    f("ext_hashing_keccak_512_version_1", "f", Some('p')),
    f("ext_hashing_sha2_256_version_1", "f", Some('p')),
    f("ext_hashing_blake2_128_version_1", "f", Some('p')),
    f("ext_hashing_blake2_256_version_1", "f", Some('p')),
    f("ext_hashing_twox_64_version_1", "f", Some('p')),
    f("ext_hashing_twox_128_version_1", "f", Some('p')),
    f("ext_hashing_twox_256_version_1", "f", Some('p')),
    f("ext_trie_blake2_256_root_version_1", "f", Some('p')),
    f("ext_trie_blake2_256_root_version_2", "fn", Some('p')),
    f("ext_trie_blake2_256_ordered_root_version_1", "f", Some('p')),
    f("ext_trie_blake2_256_ordered_root_version_2", "fn", Some('p')),
    f("ext_trie_keccak_256_root_version_2", "fn", Some('p')),
    f("ext_trie_keccak_256_ordered_root_version_2", "fn", Some('p')),
    f("ext_trie_blake2_256_verify_proof_version_1", "pfff", Some('n')),
    f("ext_trie_blake2_256_verify_proof_version_2", "pfffn", Some('n')),
    f("ext_trie_keccak_256_verify_proof_version_1", "pfff", Some('n')),
    f("ext_crypto_ed25519_verify_version_1", "pfp", Some('n')),
    f("ext_crypto_ed25519_batch_verify_version_1", "pfp", Some('n')),
    f("ext_crypto_ed25519_generate_version_1", "pf", Some('p')),
    f("ext_crypto_ed25519_public_keys_version_1", "p", Some('f')),
    f("ext_crypto_ed25519_sign_version_1", "ppf", Some('f')),
    f("ext_crypto_sr25519_verify_version_1", "pfp", Some('n')),
    f("ext_crypto_sr25519_verify_version_2", "pfp", Some('n')),
    f("ext_crypto_sr25519_batch_verify_version_1", "pfp", Some('n')),
    f("ext_crypto_ecdsa_verify_version_1", "pfp", Some('n')),
    f("ext_crypto_ecdsa_verify_version_2", "pfp", Some('n')),
    f("ext_crypto_ecdsa_verify_prehashed_version_1", "ppp", Some('n')),
    f("ext_crypto_ecdsa_batch_verify_version_1", "pfp", Some('n')),
    f("ext_crypto_secp256k1_ecdsa_recover_version_1", "pp", Some('f')),
    f("ext_crypto_secp256k1_ecdsa_recover_version_2", "pp", Some('f')),
    f("ext_crypto_secp256k1_ecdsa_recover_compressed_version_1", "pp", Some('f')),
    f("ext_crypto_secp256k1_ecdsa_recover_compressed_version_2", "pp", Some('f')),
    f("ext_crypto_start_batch_verify_version_1", "", None),
    f("ext_crypto_finish_batch_verify_version_1", "", Some('n')),
    f("ext_crypto_bls381_generate_version_1", "pf", Some('p')),
    f("ext_storage_get_version_1", "f", Some('f')),
    f("ext_offchain_timestamp_version_1", "", Some('N')),
    f("ext_unknown_function_version_1", "ppp", Some('N')),
];

/// A type of the text format.
pub(super) fn wasm_type(of: char) -> &'static str {
    if matches!(of, 'f' | 'N') { "i64" } else { "i32" }
}

impl Function {
    /// Its import in the text format, named `$h<n>` in the module.
    pub(super) fn import(&self, n: usize) -> String {
        let params: String = self.params.chars().map(|of| format!(" (param {})", wasm_type(of))).collect();
        let result = self.result.map(|of| format!(" (result {})", wasm_type(of))).unwrap_or_default();
        format!("(import \"env\" \"{}\" (func $h{n}{params}{result}))\n", self.name)
    }
}
