/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.io.IOException;

/** A call failed; {@link #code} says why. */
public class BufferSyncException extends IOException {
    private static final long serialVersionUID = 1L;

    /** Why. */
    private final ErrorCode code;

    /** Called by the native half. */
    BufferSyncException(int code, String message) {
        super(message);
        this.code = ErrorCode.of(code);
    }

    BufferSyncException(ErrorCode code, String message) {
        super(message);
        this.code = code;
    }

    /**
     * Why the call failed.
     *
     * @return the reason
     */
    public ErrorCode code() {
        return code;
    }

    @Override
    public String toString() {
        return getClass().getName() + ": " + code + ": " + getMessage();
    }
}
