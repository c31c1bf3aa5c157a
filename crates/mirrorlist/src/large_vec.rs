//! Vectors and strings that will be large, or may be.
//!
//! The C library's allocator returns a block to the system when it is freed, if the block was mapped by itself; but each
//! freed block of up to 32 MiB teaches it to keep blocks of that size. After some reloads the memory of former snapshots
//! would stay, in pieces. It learns nothing from blocks beyond 32 MiB, and the kernel moves those when they grow. Memory
//! that is reserved and not written to is not used.

/// More than the size that the allocator learns from.
const RESERVED: usize = 36 << 20;

/// An empty vector with memory reserved for many items.
pub(crate) fn large_vec<T>() -> Vec<T> {
    Vec::with_capacity(RESERVED / size_of::<T>().max(1))
}

/// An empty string with memory reserved for a long text.
pub(crate) fn large_string() -> String {
    String::with_capacity(RESERVED)
}
