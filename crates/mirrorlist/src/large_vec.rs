//! Vectors and strings that may become large.
//!
//! The C library's allocator returns a freed block to the system if the block had a mapping of its own; but after each
//! freed block of up to 32 MiB it keeps further blocks of that size. After some reloads, the memory of earlier
//! snapshots would stay in pieces. Blocks of more than 32 MiB do not have this effect, and the kernel moves them when
//! they grow. Reserved memory is not used before it is written to.

/// More than the size from which the allocator adapts.
const RESERVED: usize = 36 << 20;

/// An empty vector with memory reserved for many items.
pub(crate) fn large_vec<T>() -> Vec<T> {
    Vec::with_capacity(RESERVED / size_of::<T>().max(1))
}

/// An empty string with memory reserved for a long text.
pub(crate) fn large_string() -> String {
    String::with_capacity(RESERVED)
}
