/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * The calls that AOSP's camera and codec HALs would make: docs/integration.md names the places. Like a
 * HAL it has no exceptions. The HALs already have native handles and mappings, which the arguments
 * stand for here.
 *
 *   aosp_hals DMABUF_FD DMABUF_FD FRAMES
 */

#include <android/buffer_sync.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace {

constexpr size_t kSize = 4096;

/* The data and numFds of a native_handle_t. */
struct Handle {
    const int* fds;
    size_t count;
};

/* The locked buffers of one request. Each buffer has a reference; the last one to be returned unlocks. */
class FrameLock {
  public:
    /* Waits for other holders, for `timeout` at most. Returns null if the request fails with `status`. */
    static std::shared_ptr<FrameLock> take(ABufferSync* sync, const std::vector<Handle>& outputs,
                                           std::chrono::nanoseconds timeout, ABufferSyncStatus* status) {
        ABufferSyncGroup* group = nullptr;
        *status = ABufferSync_openGroup(sync, "camera/request", 0, ABUFFERSYNC_GROUP_DEFAULT, &group);
        if (*status != ABUFFERSYNC_OK) {
            return nullptr;
        }
        std::shared_ptr<FrameLock> lock(new FrameLock(group));
        for (const Handle& output : outputs) {
            *status = ABufferSyncGroup_addNativeHandle(group, output.fds, output.count, ABUFFERSYNC_ACCESS_WRITE,
                                                       nullptr, nullptr);
            if (*status != ABUFFERSYNC_OK) {
                return nullptr;
            }
        }
        lock->left_ = outputs.size();
        *status = ABufferSyncGroup_lock(group, timeout.count());
        return *status == ABUFFERSYNC_OK ? lock : nullptr;
    }

    /* One buffer is returned. The last one gives EVICTED if the request took too long: then it has failed. */
    ABufferSyncStatus done() {
        return left_.fetch_sub(1) == 1 ? ABufferSyncGroup_unlock(group_, -1) : ABUFFERSYNC_OK;
    }

    /* After an error this also ends a grant that is still held. */
    ~FrameLock() { ABufferSyncGroup_close(group_); }

    FrameLock(const FrameLock&) = delete;
    FrameLock& operator=(const FrameLock&) = delete;

  private:
    explicit FrameLock(ABufferSyncGroup* group) : group_(group) {}

    ABufferSyncGroup* const group_;
    std::atomic<size_t> left_ = 0;
};

/*
 * Cuttlefish's emulated camera: EmulatedRequestProcessor::AcquireBuffers() takes the lock of a request, before
 * gralloc's lock, and gives it to each GrallocSensorBuffer of the request. They call done() when they end. The
 * caller holds a mutex of the processor, so the wait must be short.
 */
struct SensorBuffer {
    std::shared_ptr<FrameLock> lock;
    uint8_t* pixels;
};

std::vector<SensorBuffer> AcquireBuffers(ABufferSync* sync, const std::vector<Handle>& outputs,
                                         const std::vector<uint8_t*>& pixels, std::chrono::nanoseconds frame) {
    ABufferSyncStatus status;
    auto lock = FrameLock::take(sync, outputs, frame, &status);
    std::vector<SensorBuffer> buffers;
    for (uint8_t* of_one : pixels) {
        if (lock != nullptr) {
            buffers.push_back({lock, of_one});
        }
    }
    return buffers;
}

/*
 * Codec2's allocators: each allocation has a group. C2GraphicAllocation::map() locks, unmap() unlocks. (Its fence is
 * an out-parameter, which AOSP leaves empty.) A linear block (C2DmaBufAllocator) is the same with one descriptor.
 */
class Block {
  public:
    Block(ABufferSync* sync, const Handle& handle, ABufferSyncAccess access) {
        status_ = ABufferSync_openGroup(sync, "codec2/block", 0, ABUFFERSYNC_GROUP_DEFAULT, &group_);
        if (status_ == ABUFFERSYNC_OK) {
            status_ = ABufferSyncGroup_addNativeHandle(group_, handle.fds, handle.count, access, nullptr, nullptr);
        }
    }

    ~Block() { ABufferSyncGroup_close(group_); }

    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;

    /* A HAL returns C2_TIMED_OUT for TIMED_OUT, and C2_CORRUPTED for other errors. */
    ABufferSyncStatus map(std::chrono::nanoseconds timeout) {
        return status_ == ABUFFERSYNC_OK ? ABufferSyncGroup_lock(group_, timeout.count()) : status_;
    }

    /* EVICTED means that the data that was read or written may be torn. */
    ABufferSyncStatus unmap() { return ABufferSyncGroup_unlock(group_, -1); }

  private:
    ABufferSyncGroup* group_ = nullptr;
    ABufferSyncStatus status_;
};

bool failed(const char* what) {
    std::fprintf(stderr, "aosp_hals: %s: %s\n", what, ABufferSync_getLastErrorMessage());
    return false;
}

bool run(ABufferSync* sync, const int fds[2], uint8_t* const pixels[2], int frames) {
    const Handle video = {&fds[0], 1}, preview = {&fds[1], 1};
    Block input(sync, video, ABUFFERSYNC_ACCESS_READ);
    for (int frame = 0; frame < frames; frame++) {
        auto buffers = AcquireBuffers(sync, {video, preview}, {pixels[0], pixels[1]}, std::chrono::seconds(5));
        if (buffers.size() != 2) {
            return failed("AcquireBuffers");
        }
        /* The buffer that is returned first does not unlock. */
        for (size_t of_request = 0; of_request < 2; of_request++) {
            if (of_request == 1 && input.map(std::chrono::nanoseconds(1)) != ABUFFERSYNC_ERROR_TIMED_OUT) {
                return failed("the encoder was granted a frame that the camera still has");
            }
            std::memset(buffers.back().pixels, frame, kSize);
            if (buffers.back().lock->done() != ABUFFERSYNC_OK) {
                return failed("done");
            }
            buffers.pop_back();
        }
        if (input.map(std::chrono::seconds(5)) != ABUFFERSYNC_OK) {
            return failed("map");
        }
        for (size_t at = 0; at < kSize; at++) {
            if (pixels[0][at] != static_cast<uint8_t>(frame)) {
                return failed("the encoder reads another frame");
            }
        }
        if (input.unmap() != ABUFFERSYNC_OK) {
            return failed("unmap");
        }
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "aosp_hals DMABUF_FD DMABUF_FD FRAMES\n");
        return 2;
    }
    const int fds[2] = {std::atoi(argv[1]), std::atoi(argv[2])};
    uint8_t* pixels[2];
    for (size_t of : {0, 1}) {
        void* start = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fds[of], 0);
        if (start == MAP_FAILED) {
            std::perror("aosp_hals: mmap");
            return 1;
        }
        pixels[of] = static_cast<uint8_t*>(start);
    }
    ABufferSync* sync = nullptr;
    bool done = ABufferSync_open(&sync) == ABUFFERSYNC_OK ? run(sync, fds, pixels, std::atoi(argv[3])) : failed("open");
    ABufferSync_close(sync);
    for (uint8_t* start : pixels) {
        munmap(start, kSize);
    }
    return done ? 0 : 1;
}
