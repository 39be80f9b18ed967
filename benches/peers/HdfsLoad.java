import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.CreateFlag;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.permission.FsPermission;

/**
 * Does the work of `godfs bench` on HDFS, over its public interface. One process does all of it, so that its code is compiled by the time
 * it counts: it takes a command from each line of stdin, and answers with a line of JSON.
 */
public final class HdfsLoad {
  private static final int BLOCK = 1 << 20;
  private static final int PER_DIRECTORY = 1_000;
  private static FileSystem files;

  private interface Operation {
    void run(int number) throws Exception;
  }

  public static void main(String[] args) throws Exception {
    Configuration configuration = new Configuration();
    configuration.addResource("hdfs-site.xml");
    files = FileSystem.get(configuration);
    System.out.println("ready");
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = lines.readLine()) != null; ) {
      String[] words = line.trim().split(" +");
      try {
        System.out.println(run(words));
      } catch (Exception failed) {
        System.out.println("{\"failed\":\"" + String.valueOf(failed).replaceAll("[^ -~]|[\"\\\\]", " ") + "\"}");
      }
    }
    files.close();
  }

  private static String run(String[] words) throws Exception {
    switch (words[0]) {
      case "write":
        return write(new Path(words[1]), Long.parseLong(words[2]), words[3].equals("sync"));
      case "read":
        return read(new Path(words[1]));
      case "put":
        return put(words[1], number(words[2]), number(words[3]), number(words[4]), words[5].equals("sync"));
      case "get":
        return get(words[1], number(words[2]), number(words[3]), number(words[4]));
      case "create":
        return put(words[1], number(words[2]), number(words[3]), 0, false);
      case "stat":
        return stat(words[1], number(words[2]), number(words[3]));
      case "remove":
        files.delete(new Path(words[1]), true);
        return row(1, 0, 0, new long[] {0});
      default:
        throw new IllegalArgumentException(words[0]);
    }
  }

  private static int number(String word) {
    return Integer.parseInt(word);
  }

  private static FSDataOutputStream create(Path path, boolean sync) throws IOException {
    EnumSet<CreateFlag> flags = EnumSet.of(CreateFlag.CREATE, CreateFlag.OVERWRITE);
    if (sync) {
      flags.add(CreateFlag.SYNC_BLOCK);
    }
    return files.create(path, FsPermission.getFileDefault(), flags, 64 << 10, (short) 3, 128L << 20, null);
  }

  private static String write(Path path, long bytes, boolean sync) throws IOException {
    byte[] block = random(BLOCK);
    long begun = System.nanoTime();
    try (FSDataOutputStream out = create(path, sync)) {
      for (long left = bytes; left > 0; left -= block.length) {
        out.write(block, 0, (int) Math.min(left, block.length));
      }
    }
    long took = System.nanoTime() - begun;
    return row(1, bytes, took, new long[] {took});
  }

  private static String read(Path path) throws IOException {
    byte[] block = new byte[BLOCK];
    long begun = System.nanoTime();
    long bytes = 0;
    try (FSDataInputStream in = files.open(path)) {
      for (int read; (read = in.read(block)) > 0; ) {
        bytes += read;
      }
    }
    long took = System.nanoTime() - begun;
    return row(1, bytes, took, new long[] {took});
  }

  private static String put(String under, int count, int threads, int size, boolean sync) throws Exception {
    for (int number = 0; number < count; number += PER_DIRECTORY) {
      files.mkdirs(at(under, number).getParent());
    }
    byte[] bytes = random(size);
    return many(count, threads, size, number -> {
      try (FSDataOutputStream out = create(at(under, number), sync)) {
        out.write(bytes);
      }
    });
  }

  private static String get(String under, int count, int threads, int size) throws Exception {
    return many(count, threads, size, number -> {
      try (FSDataInputStream in = files.open(at(under, scattered(number, count)))) {
        in.readFully(new byte[size]);
      }
    });
  }

  private static String stat(String under, int count, int threads) throws Exception {
    return many(count, threads, 0, number -> files.getFileStatus(at(under, scattered(number, count))));
  }

  private static int scattered(int number, int count) {
    return new Random(number).nextInt(count);
  }

  private static Path at(String under, int number) {
    return new Path(under + "/a/b/c/d" + number / PER_DIRECTORY + "/f" + number);
  }

  private static byte[] random(int size) {
    byte[] bytes = new byte[size];
    new Random(7).nextBytes(bytes);
    return bytes;
  }

  /** Runs an operation with each number below `count`, on so many threads. */
  private static String many(int count, int threads, int size, Operation operation) throws Exception {
    AtomicInteger next = new AtomicInteger();
    long[] took = new long[count];
    ExecutorService workers = Executors.newFixedThreadPool(threads);
    List<Future<?>> running = new ArrayList<>();
    long begun = System.nanoTime();
    for (int worker = 0; worker < threads; worker++) {
      running.add(workers.submit(() -> {
        for (int number; (number = next.getAndIncrement()) < count; ) {
          long start = System.nanoTime();
          operation.run(number);
          took[number] = System.nanoTime() - start;
        }
        return null;
      }));
    }
    try {
      for (Future<?> worker : running) {
        worker.get();
      }
    } finally {
      workers.shutdownNow();
    }
    return row(count, (long) count * size, System.nanoTime() - begun, took);
  }

  private static String row(long operations, long bytes, long nanoseconds, long[] took) {
    Arrays.sort(took);
    double seconds = Math.max(nanoseconds, 1) / 1e9;
    return String.format(
        Locale.ROOT,
        "{\"name\":\"hdfs\",\"bytes\":%d,\"seconds\":%.6f,\"per_second\":%.3f,\"mb_per_second\":%.3f,\"p50_us\":%d,\"p99_us\":%d,\"max_us\":%d,\"errors\":0}",
        bytes, seconds, operations / seconds, bytes / seconds / 1e6, took[took.length / 2] / 1_000,
        took[(int) (took.length * 0.99)] / 1_000, took[took.length - 1] / 1_000);
  }
}
