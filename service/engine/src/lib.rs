//! Lock table, coherence and deadlines of buffersync, without I/O.
