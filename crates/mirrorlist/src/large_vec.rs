//! Room for what is large.
//!
//! The C library's allocator gives a block back to the system when it is freed, if the block was mapped by itself; but
//! each freed block of up to 32 MiB teaches it to keep blocks of that size. After some reloads the memory of former
//! snapshots would stay, in pieces. Blocks beyond 32 MiB teach it nothing, and are moved by the kernel when they grow. What
//! is not written to takes no memory.

/// More than what the allocator learns from.
const ROOM: usize = 36 << 20;

/// A list that will be large, or may be.
pub(crate) fn roomy<T>() -> Vec<T> {
    Vec::with_capacity(ROOM / size_of::<T>().max(1))
}

/// The same for text.
pub(crate) fn roomy_text() -> String {
    String::with_capacity(ROOM)
}
