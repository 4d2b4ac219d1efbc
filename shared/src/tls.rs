//! The TLS implementation of this process, for the bus and for cloud stores.

/// Selects ring, unless the program has selected another implementation already.
///
/// Must be called before the first TLS client is made: without a selection, such a client panics if no implementation
/// or more than one is compiled in, which any crate of an embedding program can cause.
pub fn select_implementation() {
    // An error means that one is selected.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
