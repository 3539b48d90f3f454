/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.lang.ref.Cleaner;

/** The safety net: releases objects that nobody closed, when nothing refers to them any more. */
final class Cleaners {
    private static final Cleaner CLEANER = Cleaner.create();

    private Cleaners() {}

    @FunctionalInterface
    interface Release {
        void run() throws BufferSyncException;
    }

    /** The release runs once: in clean(), or when nothing refers to {@code owner} any more. */
    static Cleaner.Cleanable register(Object owner, Release release) {
        return CLEANER.register(
                owner,
                () -> {
                    try {
                        release.run();
                    } catch (BufferSyncException e) {
                        // Nobody can handle the error, and nothing is left to release.
                        return;
                    }
                });
    }
}
