/* The least a sender can do, as the measure for the others: one line in flight, no timeouts, no errors.
 *
 *   cc -O2 -o ping_pong ping_pong.c && ./ping_pong PORT FILE
 *
 * Prints one line of JSON: lines a second and CPU microseconds a line.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int port;

/* Sends one line and waits until an answer begins with "ok". */
static int converse(const char *line, size_t length) {
    static char in[4096];
    static int at_start = 1, matched;
    if (write(port, line, length) != (ssize_t)length) return -1;
    for (;;) {
        ssize_t got = read(port, in, sizeof in);
        int done = 0;
        if (got <= 0) return -1;
        for (ssize_t i = 0; i < got; i++) {
            if (in[i] == '\n') {
                done |= matched == 2;
                at_start = 1;
                matched = 0;
            } else if (at_start || matched == 1) {
                matched = at_start && in[i] == 'o' ? 1 : matched == 1 && in[i] == 'k' ? 2 : 0;
                at_start = 0;
            }
        }
        if (done) return 0;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    FILE *file = fopen(argv[2], "r");
    struct termios raw;
    port = open(argv[1], O_RDWR | O_NOCTTY);
    if (!file || port < 0 || tcgetattr(port, &raw)) { perror(argv[0]); return 1; }
    cfmakeraw(&raw);
    tcsetattr(port, TCSANOW, &raw);
    if (converse("N0 M110 N0*125\n", 15)) return 1;

    char *text = NULL, out[512];
    size_t room = 0;
    ssize_t length;
    long lines = 0;
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    while ((length = getline(&text, &room, file)) > 0) {
        while (length && (text[length - 1] == '\n' || text[length - 1] == '\r')) text[--length] = 0;
        if (!length || length > 400) continue;
        int n = snprintf(out, sizeof out, "N%ld %s", ++lines, text);
        unsigned char sum = 0;
        for (int i = 0; i < n; i++) sum ^= (unsigned char)out[i];
        n += snprintf(out + n, sizeof out - (size_t)n, "*%d\n", sum);
        if (converse(out, (size_t)n)) return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double span = (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) * 1e-9;
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    printf("{\"lines_per_s\":%.1f,\"cpu_us_per_line\":%.2f}\n", (double)lines / span, cpu * 1e6 / (double)lines);
    return 0;
}
