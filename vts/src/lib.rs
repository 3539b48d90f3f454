//! Conformance tests of IBufferSync.
