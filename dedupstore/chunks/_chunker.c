/* Python's door to the content-defined chunker; the algorithm itself is in _chunker_core.h.
 *
 * Invariant: nothing here outlives a call (no state, no allocation of its own), so any number of threads may
 * cut at once, and the same buffer too.  The GIL is released while bytes are read.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_chunker_core.h"

/* Cuts found per release of the GIL: 32 KiB of stack, and room for 64 MiB of 16 KiB chunks. */
enum { BATCH = 4096 };

typedef size_t (*chunk_length_function)(const chunker_t *, const uint8_t *, size_t);

static int append_offset(PyObject *list, size_t offset)
{
    PyObject *number = PyLong_FromSize_t(offset);
    if (number == NULL)
        return -1;
    int failed = PyList_Append(list, number);
    Py_DECREF(number);
    return failed;
}

/* The bytes to cut, and where chunks must end whatever the bytes say. */
typedef struct {
    const uint8_t *data;
    size_t size;
    const uint8_t *ends; /* ascending offsets, of 8 bytes in the machine's order, perhaps not aligned */
    size_t end_count;
    int final; /* the end of the bytes is such an end too */
} input_t;

static uint64_t end_at(const input_t *input, size_t i)
{
    uint64_t end;
    memcpy(&end, input->ends + sizeof end * i, sizeof end);
    return end;
}

static int ends_are_ascending(const input_t *input)
{
    uint64_t last = 0;
    for (size_t i = 0; i < input->end_count; i++) {
        if (end_at(input, i) < last || end_at(input, i) > input->size)
            return 0;
        last = end_at(input, i);
    }
    return 1;
}

static PyObject *find_cuts(const chunker_t *chunker, chunk_length_function length_of, const input_t *input)
{
    PyObject *list = PyList_New(0);
    size_t cuts[BATCH];
    size_t position = 0;
    size_t next_end = 0;
    size_t found = BATCH;

    while (list != NULL && found == BATCH) {
        Py_BEGIN_ALLOW_THREADS
        for (found = 0; found < BATCH; found++) {
            while (next_end < input->end_count && end_at(input, next_end) <= position)
                next_end++;
            int ends_there = next_end < input->end_count || input->final;
            size_t limit = next_end < input->end_count ? (size_t)end_at(input, next_end) : input->size;
            size_t length = length_of(chunker, input->data + position, limit - position);
            if (length == 0 && ends_there)
                length = limit - position;
            if (length == 0)
                break;
            position += length;
            cuts[found] = position;
        }
        Py_END_ALLOW_THREADS
        for (size_t i = 0; list != NULL && i < found; i++)
            if (append_offset(list, cuts[i]) < 0)
                Py_CLEAR(list);
    }
    return list;
}

static PyObject *cuts_by(chunk_length_function length_of, ptrdiff_t smallest_minimum, PyObject *args)
{
    Py_buffer data, gear, ends = {0};
    Py_ssize_t minimum, average, maximum;
    int final;
    PyObject *list = NULL;
    chunker_t chunker;

    if (!PyArg_ParseTuple(args, "y*y*nnnp|y*", &data, &gear, &minimum, &average, &maximum, &final, &ends)) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError))
            PyErr_SetString(PyExc_ValueError, "a chunk size is far too large");
        return NULL;
    }
    input_t input = {data.buf, (size_t)data.len, ends.buf, (size_t)ends.len / sizeof(uint64_t), final};
    if (gear.len != GEAR_BYTES)
        PyErr_Format(PyExc_ValueError, "the gear table has %zd bytes; it needs %d", gear.len, GEAR_BYTES);
    else if (minimum < smallest_minimum || !chunker_init(&chunker, gear.buf, minimum, average, maximum))
        PyErr_Format(PyExc_ValueError,
                     "chunk sizes %zd, %zd, %zd are refused; they need %d <= minimum < average < maximum <= %d, "
                     "and an average that is a power of two, %d or more",
                     minimum, average, maximum, (int)smallest_minimum, LARGEST_MAXIMUM, SMALLEST_AVERAGE);
    else if (!ends_are_ascending(&input))
        PyErr_SetString(PyExc_ValueError, "the ends of pieces are not ascending offsets in the data");
    else
        list = find_cuts(&chunker, length_of, &input);
    PyBuffer_Release(&ends);
    PyBuffer_Release(&gear);
    PyBuffer_Release(&data);
    return list;
}

static PyObject *cuts(PyObject *Py_UNUSED(module), PyObject *args)
{
    return cuts_by(chunk_length, SMALLEST_MINIMUM, args);
}

static PyObject *cuts_scalar(PyObject *Py_UNUSED(module), PyObject *args)
{
    return cuts_by(chunk_length_scalar, SMALLEST_MINIMUM, args);
}

static PyObject *cuts_wide(PyObject *Py_UNUSED(module), PyObject *args)
{
    return cuts_by(chunk_length_wide, WIDE_WINDOW + 1, args);
}

static PyMethodDef methods[] = {
    {"cuts", cuts, METH_VARARGS,
     "cuts(data, gear, minimum, average, maximum, final, ends=b\"\", /)\n--\n\n"
     "End offsets of the chunks in data, ascending; the bytes after the last one wait for more, unless final.\n"
     "Chunks also end at each of ends, a column of ascending offsets of 8 bytes in the machine's order."},
    {"cuts_scalar", cuts_scalar, METH_VARARGS,
     "cuts_scalar(data, gear, minimum, average, maximum, final, ends=b\"\", /)\n--\n\n"
     "The same cuts as cuts, found one byte at a time: what tests compare it with."},
    {"cuts_wide", cuts_wide, METH_VARARGS,
     "cuts_wide(data, gear, minimum, average, maximum, final, ends=b\"\", /)\n--\n\n"
     "As cuts, by a hash of the last 1024 bytes; the minimum is above 1024."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "dedupstore.chunks._chunker",
    .m_doc = "Content-defined chunking in C; dedupstore.chunks.chunker is its public face.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__chunker(void)
{
    return PyModuleDef_Init(&module);
}
