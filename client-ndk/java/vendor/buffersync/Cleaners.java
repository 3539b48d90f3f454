/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.lang.ref.Cleaner;

/** The safety net: what nobody closed is closed when nobody can any more. */
final class Cleaners {
    private static final Cleaner CLEANER = Cleaner.create();

    private Cleaners() {}

    /** A call that releases something. */
    @FunctionalInterface
    interface Release {
        void run() throws BufferSyncException;
    }

    /** Runs once: now, by clean(), or when nothing refers to {@code owner} any more. */
    static Cleaner.Cleanable register(Object owner, Release release) {
        return CLEANER.register(
                owner,
                () -> {
                    try {
                        release.run();
                    } catch (BufferSyncException e) {
                        // Nobody is there to be told, and nothing is left to be released.
                        return;
                    }
                });
    }
}
