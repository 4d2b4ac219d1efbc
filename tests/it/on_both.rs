//! Tests that must pass on both deployments.

/// Makes two tests of one: on the embedded host, and on a fleet.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Host::embedded().await).await })*
        }
        mod fleet {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Host::fleet().await).await })*
        }
    };
}

pub(crate) use on_both;
