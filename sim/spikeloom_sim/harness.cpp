// Streams whole data sets through a compiled design, with no interpreter in the clock loop.
//
// Input file, 32-bit words: inputs, streamed words f and r (of LOAD_WORDS words each, the first f once, the other r again
// and again; both 0 where no weights are streamed) and these, then for each input {load words n, n words, items m, m
// events}; an event of more than 32 bits has two words, low and high.
// Output file, 32-bit words: for each input {first, last, taken}: cycles of the first event taken, of the last word
// given and of the last event taken (each as low, high); then for each output stream {words, bits, payloads}.
// `ports.h` is generated for the design: it defines Model, Streams and the accessors used here.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

#include "ports.h"

namespace {

// Pauses: a 64-bit xorshift per side, so that a seed gives the same run everywhere.
struct Dice {
  uint64_t state;
  explicit Dice(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15ull + 0x1234567ull) {}
  bool roll(uint32_t percent) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 33) % 100 < percent;
  }
};

std::vector<uint32_t> read_words(const char* path) {
  FILE* file = std::fopen(path, "rb");
  if (!file) {
    std::perror(path);
    std::exit(2);
  }
  std::fseek(file, 0, SEEK_END);
  std::vector<uint32_t> words(std::ftell(file) / 4);
  std::rewind(file);
  if (std::fread(words.data(), 4, words.size(), file) != words.size()) std::exit(2);
  std::fclose(file);
  return words;
}

void write_words(FILE* file, const std::vector<uint32_t>& words) {
  if (std::fwrite(words.data(), 4, words.size(), file) != words.size()) {
    std::perror("output");
    std::exit(2);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: harness INPUT OUTPUT ISOLATED STALL_PERCENT SEED [WAVEFORM]\n");
    return 2;
  }
  const std::vector<uint32_t> input = read_words(argv[1]);
  const bool isolated = std::atoi(argv[3]) != 0;
  const uint32_t stall = std::atoi(argv[4]);
  const uint64_t seed = std::strtoull(argv[5], nullptr, 10);
  const char* waveform = argc > 6 ? argv[6] : nullptr;

  auto context = std::make_unique<VerilatedContext>();
  context->randReset(0);
  if (waveform) context->traceEverOn(true);
  auto model = std::make_unique<Model>(context.get());
#if VM_TRACE
  auto trace = std::make_unique<VerilatedVcdC>();
  if (waveform) {
    model->trace(trace.get(), 99);
    trace->open(waveform);
  }
#endif
  uint64_t half = 0;
  auto tick = [&] {
    model->clk = 1;
    model->eval();
#if VM_TRACE
    if (waveform) trace->dump(half);
#endif
    ++half;
    model->clk = 0;
  };
  auto settle = [&] {
    model->eval();
#if VM_TRACE
    if (waveform) trace->dump(half);
#endif
    ++half;
  };

  std::vector<std::vector<uint32_t>> given(STREAMS);
  for (int s = 0; s < STREAMS; ++s) set_ready(*model, s, false);
  model->clk = 0;
  model->events_in___05Fvalid = 0;
  set_load(*model, false, nullptr);
  model->rst = 1;
  for (int n = 0; n < 3; ++n) settle(), tick();
  model->rst = 0;
  for (int n = 0; n < SETTLE; ++n) settle(), tick();  // memories are being cleared

  const uint32_t inputs = input[0];
  struct Stamp {
    uint64_t first = 0, last = 0, taken = 0;
    bool begun = false;
  };
  std::vector<Stamp> stamps(inputs);
  const uint32_t streamed_first = input[1], streamed = input[1] + input[2];
  const uint32_t* stream = input.data() + 3;
  uint32_t next = 0;           // streamed word
  uint32_t unfed = 0;          // cycles since one was taken
  bool stream_held = false, begun = false;
  Dice feeder(seed + 2);
  size_t position = 3 + size_t{streamed} * LOAD_WORDS;
  uint32_t current = 0;        // input being sent
  uint32_t finished = 0;       // inputs whose every word has been given
  uint32_t quiet = SETTLE;     // cycles since the latest input finished
  uint32_t resting = 0;        // cycles that an isolated input waits yet for what its images have set going
  uint32_t loads = 0, items = 0;
  bool opened = false;         // the head of the current input has been read
  bool held = false;           // an offered word stays until it is taken
  uint64_t cycle = 0, moved = 0;
  Dice producer(seed), consumer(seed + 1);
  std::vector<uint32_t> ends(STREAMS, 0);

  // Layers that lag show potentials after the answer.
  auto shown = [&] {
    for (int s = 0; s < STREAMS; ++s)
      if (given[s].size() < uint64_t{inputs} * probe_words(s)) return false;
    return true;
  };
  while (finished < inputs || !shown()) {
    // The first event comes behind the first image; an isolated input finds the buffers of weights filled.
    const bool fed = !streamed || (begun && (!isolated || unfed >= 16));
    if (!opened && current < inputs && fed && (!isolated || (finished == current && quiet >= SETTLE))) {
      loads = input[position++];
      items = ~0u;
      opened = true;
    }
    if (opened && loads == 0 && items == ~0u) items = input[position++];
    const bool loading = opened && loads > 0;
    const bool go = opened && (loading || !resting) && (held || !stall || !producer.roll(stall));
    if (resting && !loading) --resting;
    const bool sending = opened && !loading && items > 0;
    const bool feeding = streamed && (stream_held || !stall || !feeder.roll(stall));
    if (streamed)
      set_load(*model, feeding, stream + size_t{next} * LOAD_WORDS);
    else
      set_load(*model, go && loading, input.data() + position);
    model->events_in___05Fvalid = go && sending;
    uint64_t event = sending ? input[position] : 0;
    if (EVENT_WORDS > 1 && sending) event |= uint64_t{input[position + EVENT_WORDS - 1]} << 32;
    model->events_in___05Fpayload = event;
    for (int s = 0; s < STREAMS; ++s) set_ready(*model, s, !stall || !consumer.roll(stall));
    settle();

    ++unfed;
    stream_held = feeding;
    if (feeding && load_ready(*model)) {
      stream_held = false, begun = true, moved = cycle, unfed = 0;
      if (++next == streamed) next = streamed_first;
    }
    held = go;
    if (go && loading && load_ready(*model)) {
      ++position, --loads, held = false, moved = cycle;
      if (isolated) resting = SETTLE;
    } else if (go && sending && model->events_in___05Fready) {
      Stamp& stamp = stamps[current];
      if (!stamp.begun) stamp.begun = true, stamp.first = cycle;
      stamp.taken = cycle;
      position += EVENT_WORDS, --items, held = false, moved = cycle;
    }
    ++quiet;
    for (int s = 0; s < STREAMS; ++s) {
      if (!transfers(*model, s)) continue;
      moved = cycle;
      append(*model, s, given[s]);
      if (!counts_as_end(s)) continue;
      if (ends[s] < inputs && stamps[ends[s]].last < cycle) stamps[ends[s]].last = cycle;
      if (closes(*model, s)) ++ends[s];
    }
    uint32_t least = inputs;
    for (int s = 0; s < STREAMS; ++s)
      if (counts_as_end(s) && ends[s] < least) least = ends[s];
    if (least > finished) finished = least, quiet = 0;
    if (opened && loads == 0 && items == 0) opened = false, ++current;
    tick();
    ++cycle;
    if (cycle - moved > 1000000) {
      std::fprintf(stderr, "nothing moved for 1000000 cycles: input %u, %u finished\n", current, finished);
      return 1;
    }
  }
  settle();
  model->final();
#if VM_TRACE
  if (waveform) trace->close();
#endif

  FILE* out = std::fopen(argv[2], "wb");
  if (!out) {
    std::perror(argv[2]);
    return 2;
  }
  std::vector<uint32_t> head;
  head.push_back(static_cast<uint32_t>(cycle));
  head.push_back(static_cast<uint32_t>(cycle >> 32));
  for (const Stamp& stamp : stamps)
    for (uint64_t value : {stamp.first, stamp.last, stamp.taken}) {
      head.push_back(static_cast<uint32_t>(value));
      head.push_back(static_cast<uint32_t>(value >> 32));
    }
  write_words(out, head);
  for (int s = 0; s < STREAMS; ++s) {
    const size_t size = given[s].size();
    write_words(out, {static_cast<uint32_t>(size), static_cast<uint32_t>(size >> 32), 0});
    write_words(out, given[s]);
  }
  write_words(out, {static_cast<uint32_t>(model->dropped)});
  if (std::fclose(out)) {
    std::perror(argv[2]);
    return 2;
  }
  return 0;
}
