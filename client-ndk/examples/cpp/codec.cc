/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * A codec in C++17: every handle, mapping and lock is an object, so the end of its scope always releases it.
 *
 *   codec INPUT_FD OUTPUT_FD SIZE HOLD_MILLIS
 *
 * For each number on standard input it reads that frame from one buffer, prints the number, and writes the decoded
 * frame into the other. It has a lock for each buffer: it asks for the output while it still reads the input, and lets
 * the input go before it writes.
 *
 * What goes wrong:
 * - The codec takes too long and is evicted: it prints 0 instead of the number, and goes on. The number 0 makes it too
 *   slow.
 * - The service dies, and every lock with it: the codec opens its group again, and decodes the frame again.
 */

#include <android/buffer_sync.hpp>
#include <sys/mman.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>
#include <vector>

#include "frame.h"

namespace {

namespace bs = android::buffersync;

constexpr std::chrono::seconds kPatience(60);

class Mapping {
  public:
    Mapping(int fd, size_t size, int protection)
        : start_(mmap(nullptr, size, protection, MAP_SHARED, fd, 0)), size_(size) {}

    ~Mapping() {
        if (*this) {
            munmap(start_, size_);
        }
    }

    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    explicit operator bool() const { return start_ != MAP_FAILED; }

    /* The caller must have a grant. */
    uint32_t* words(const bs::Grant&) const { return static_cast<uint32_t*>(start_); }

  private:
    void* start_;
    size_t size_;
};

class Codec {
  public:
    Codec(bs::Connection& connection, int input_fd, int output_fd, size_t size, std::chrono::milliseconds hold)
        : connection_(connection), input_fd_(input_fd), output_fd_(output_fd), words_(size / sizeof(uint32_t)),
          hold_(hold), input_(input_fd, size, PROT_READ), output_(output_fd, size, PROT_READ | PROT_WRITE) {}

    /* Opens the group, also after the service was gone. */
    bs::Status open() {
        auto group = connection_.openGroup("example/codec", {hold_, ABUFFERSYNC_GROUP_DEFAULT});
        if (!group) {
            return group.status();
        }
        auto input = group->addDmaBuf(input_fd_, bs::Access::Read);
        auto output = group->addDmaBuf(output_fd_, bs::Access::Write);
        if (!input || !output) {
            return input ? output.status() : input.status();
        }
        group_ = *std::move(group);
        input_id_ = *input;
        output_id_ = *output;
        return {};
    }

    /* Decodes a frame. Prints its number when it holds the output and has not written it yet. */
    bs::Status decode(uint32_t number) {
        if (!input_ || !output_) {
            return bs::Status::error(ABUFFERSYNC_ERROR_INVALID_ARGUMENT, "a buffer can't be mapped");
        }
        auto reading = group_.lock({{input_id_, bs::Access::Read}}, kPatience);
        if (!reading) {
            return reading.status();
        }
        /* The second lock takes its place in line while the first is used. */
        auto writing = group_.startLock({{output_id_, bs::Access::Write}}, kPatience);
        if (!writing) {
            return writing.status();
        }
        const uint32_t* from = input_.words(*reading);
        std::vector<uint32_t> frame(from, from + words_);
        if (bs::Status done = reading->unlock(); !done) {
            return done;
        }
        if (bs::Status granted = writing->lock.wait(); !granted) {
            return granted;
        }
        if (number == 0) {
            std::this_thread::sleep_for(2 * hold_);
            return writing->lock.unlock();
        }
        std::cout << number << std::endl;
        uint32_t* to = output_.words(writing->lock);
        for (size_t at = 0; at < words_; at++) {
            if (frame[at] != frame_word(number, at)) {
                std::cerr << "codec: frame " << number << " is torn at word " << at << "\n";
                std::exit(1);
            }
            to[at] = ~frame[at];
        }
        return writing->lock.unlock();
    }

  private:
    bs::Connection& connection_;
    const int input_fd_, output_fd_;
    const size_t words_;
    const std::chrono::milliseconds hold_;
    const Mapping input_, output_;
    bs::Group group_;
    bs::BufferId input_id_ = 0, output_id_ = 0;
};

int fail(const bs::Status& status) {
    std::cerr << "codec: " << status.message() << "\n";
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::cerr << "codec INPUT_FD OUTPUT_FD SIZE HOLD_MILLIS\n";
        return 2;
    }
    auto connection = bs::Connection::waitForService();
    if (!connection) {
        return fail(connection.status());
    }
    Codec codec(*connection, std::atoi(argv[1]), std::atoi(argv[2]), std::strtoul(argv[3], nullptr, 10),
                std::chrono::milliseconds(std::atoi(argv[4])));
    if (bs::Status opened = codec.open(); !opened) {
        return fail(opened);
    }
    for (uint32_t number; std::cin >> number;) {
        bs::Status done = codec.decode(number);
        while (done == ABUFFERSYNC_ERROR_SERVICE_DIED || done == ABUFFERSYNC_ERROR_NO_SERVICE) {
            /* The service may start again. The connection finds it. */
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
            done = codec.open();
            if (done) {
                done = codec.decode(number);
            }
        }
        if (done == ABUFFERSYNC_ERROR_EVICTED) {
            std::cerr << "codec: frame " << number << ": " << done.message() << "\n";
            std::cout << 0 << std::endl;
        } else if (!done) {
            return fail(done);
        }
    }
    return 0;
}
