/*
 * A TCG plugin that watches the system calls of the emulated machine's programs.
 *
 * Every instruction by which a program can enter the kernel is watched, whoever
 * runs it, from the first program on; the guest knows nothing of it. One line
 * a call for calls that name a file (their path is read from the guest), and one
 * line for the first call of every other number:
 *
 *   NUMBER ARGUMENT0 ARGUMENT1 ARGUMENT2 ARGUMENT3 PATH
 *
 * The arguments are hexadecimal; PATH is `-` where there is none and `?` where
 * the guest's memory could not be read. `legacy` is the line of a call made by
 * the 32-bit ways (int 0x80, sysenter).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>
#include <stdio.h>
#include <string.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define USER_END (1ULL << 47)
#define PATH_MAX_SHOWN 255
#define NUMBERS 512
#define OPENAT2 437

enum { RAX, RDI, RSI, RDX, R10, REGISTERS };
static const char *const names[REGISTERS] = { "rax", "rdi", "rsi", "rdx",
                                              "r10" };

/* Which argument is the path of what is named or made; x86-64 numbers */
static const struct {
    uint64_t number;
    int argument;
} paths[] = {
    { 2, 0 },   /* open */
    { 76, 0 },  /* truncate */
    { 82, 1 },  /* rename */
    { 83, 0 },  /* mkdir */
    { 85, 0 },  /* creat */
    { 86, 1 },  /* link */
    { 88, 1 },  /* symlink */
    { 133, 0 }, /* mknod */
    { 165, 1 }, /* mount */
    { 257, 1 }, /* openat */
    { 258, 1 }, /* mkdirat */
    { 259, 1 }, /* mknodat */
    { 264, 3 }, /* renameat */
    { 265, 3 }, /* linkat */
    { 266, 2 }, /* symlinkat */
    { 316, 3 }, /* renameat2 */
    { 319, 0 }, /* memfd_create */
    { 59, 0 },  /* execve */
    { 322, 1 }, /* execveat */
    { 437, 1 }, /* openat2 */
};

static FILE *out;
static GMutex lock;
static bool seen[NUMBERS];
static struct qemu_plugin_register *registers[REGISTERS];

static uint64_t value_of(int which)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    uint64_t value = 0;

    if (registers[which] &&
        qemu_plugin_read_register(registers[which], bytes) == sizeof(value)) {
        memcpy(&value, bytes->data, sizeof(value));
    }
    return value;
}

static void path_at(uint64_t address, char *shown)
{
    g_autoptr(GByteArray) byte = g_byte_array_new();
    int length = 0;

    /* One by one: the page behind the last one may not be there */
    for (; length < PATH_MAX_SHOWN; length++) {
        if (!qemu_plugin_read_memory_vaddr(address + length, byte, 1)) {
            strcpy(shown, "?");
            return;
        }
        if (byte->data[0] == 0) {
            break;
        }
        shown[length] = g_ascii_isgraph(byte->data[0]) ? byte->data[0] : '_';
    }
    shown[length] = 0;
    if (length == 0) {
        strcpy(shown, "-");
    }
}

static void called(unsigned int cpu, void *unused)
{
    uint64_t number = value_of(RAX);
    uint64_t arguments[4] = { value_of(RDI), value_of(RSI), value_of(RDX),
                              value_of(R10) };
    char path[PATH_MAX_SHOWN + 1] = "-";
    bool names_a_file = false;

    for (size_t at = 0; at < G_N_ELEMENTS(paths); at++) {
        if (paths[at].number == number) {
            names_a_file = true;
            path_at(arguments[paths[at].argument], path);
        }
    }
    if (number == OPENAT2) {
        /* Its flags are the first member of a structure */
        g_autoptr(GByteArray) how = g_byte_array_new();
        if (qemu_plugin_read_memory_vaddr(arguments[2], how, 8)) {
            memcpy(&arguments[2], how->data, 8);
        }
    }
    g_mutex_lock(&lock);
    if (names_a_file || number >= NUMBERS || !seen[number]) {
        if (number < NUMBERS) {
            seen[number] = true;
        }
        fprintf(out, "%" PRIu64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64
                " %s\n", number, arguments[0], arguments[1], arguments[2],
                arguments[3], path);
        fflush(out);
    }
    g_mutex_unlock(&lock);
}

static void called_legacy(unsigned int cpu, void *unused)
{
    g_mutex_lock(&lock);
    fputs("legacy\n", out);
    fflush(out);
    g_mutex_unlock(&lock);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    for (size_t at = 0; at < qemu_plugin_tb_n_insns(block); at++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, at);
        uint8_t code[2];

        if (qemu_plugin_insn_vaddr(insn) >= USER_END ||
            qemu_plugin_insn_size(insn) != 2 ||
            qemu_plugin_insn_data(insn, code, 2) != 2) {
            continue;
        }
        if (code[0] == 0x0f && code[1] == 0x05) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, called,
                                                   QEMU_PLUGIN_CB_R_REGS, NULL);
        } else if ((code[0] == 0xcd && code[1] == 0x80) ||
                   (code[0] == 0x0f && code[1] == 0x34)) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, called_legacy,
                                                   QEMU_PLUGIN_CB_NO_REGS, NULL);
        }
    }
}

static void cpu_made(qemu_plugin_id_t id, unsigned int cpu)
{
    g_autoptr(GArray) all = qemu_plugin_get_registers();

    for (guint at = 0; at < all->len; at++) {
        qemu_plugin_reg_descriptor *each =
            &g_array_index(all, qemu_plugin_reg_descriptor, at);
        for (int which = 0; which < REGISTERS; which++) {
            if (g_str_equal(each->name, names[which])) {
                registers[which] = each->handle;
            }
        }
    }
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info, int argc,
                                           char **argv)
{
    if (argc != 1 || !g_str_has_prefix(argv[0], "out=")) {
        fputs("system-calls: say out=FILE\n", stderr);
        return 1;
    }
    out = fopen(argv[0] + strlen("out="), "w");
    if (!out) {
        perror("system-calls");
        return 1;
    }
    qemu_plugin_register_vcpu_init_cb(id, cpu_made);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
