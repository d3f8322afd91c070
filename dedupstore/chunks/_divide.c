/* Divides a buffer of a stream into what a splitter marked: content is moved together in place, skeleton is
 * copied out, and the layout that puts both together again is written (docs/format.md 9).  Reads layouts back, too.
 *
 * Invariant: nothing outlives a call; the ranges are checked before a byte is moved, so that no read or write
 * leaves the buffer; content and skeleton together are the bytes that were there, in order.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_divide_core.h"

static PyObject *divide(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer buffer, ranges;
    Py_ssize_t start, end;
    int content;
    unsigned long long length;
    PyObject *answer = NULL, *skeleton = NULL, *ends = NULL, *layout = NULL;

    if (!PyArg_ParseTuple(args, "w*nny*pK", &buffer, &start, &end, &ranges, &content, &length))
        return NULL;
    division_t division = {.content = content, .length = length};
    if (start < 0 || end < start || end > buffer.len || ranges.len % 8 != 0 ||
        !measure(&division, ranges.buf, (size_t)ranges.len / 8, (size_t)(end - start))) {
        PyErr_SetString(PyExc_ValueError, "the ranges do not cover the bytes exactly");
        goto done;
    }
    skeleton = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)division.skeleton_size);
    ends = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(division.end_count * sizeof(uint64_t)));
    layout = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)division.layout_size);
    if (skeleton == NULL || ends == NULL || layout == NULL)
        goto done;

    output_t output = {(uint8_t *)PyBytes_AsString(skeleton), (uint8_t *)PyBytes_AsString(ends),
                       (uint8_t *)PyBytes_AsString(layout)};
    size_t kept;
    Py_BEGIN_ALLOW_THREADS
    kept = perform(&division, buffer.buf, (size_t)start, ranges.buf, (size_t)ranges.len / 8, output);
    Py_END_ALLOW_THREADS
    answer = Py_BuildValue("nOOOOK", (Py_ssize_t)kept, skeleton, ends, layout,
                           division.content ? Py_True : Py_False, (unsigned long long)division.length);
done:
    Py_XDECREF(skeleton);
    Py_XDECREF(ends);
    Py_XDECREF(layout);
    PyBuffer_Release(&ranges);
    PyBuffer_Release(&buffer);
    return answer;
}

static PyObject *pairs(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer data;
    Py_ssize_t least;
    int first, ended;
    pairs_t walk;
    PyObject *answer = NULL, *numbers = NULL;

    if (!PyArg_ParseTuple(args, "y*npp", &data, &least, &first, &ended))
        return NULL;
    int found = least < 0 ? -1 : walk_pairs(&walk, data.buf, (size_t)data.len, (size_t)least, first, ended, NULL);
    if (found < 0) {
        PyErr_SetString(PyExc_ValueError, "not the pairs of a layout");
        goto done;
    }
    if (found == 0) {
        answer = Py_NewRef(Py_None);
        goto done;
    }
    numbers = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(walk.count * sizeof(uint64_t)));
    if (numbers == NULL)
        goto done;
    /* the interpreter's lock is held: these are the same bytes, and so as many numbers */
    walk_pairs(&walk, data.buf, walk.end, walk.end, first, 1, (uint8_t *)PyBytes_AsString(numbers));
    answer = Py_BuildValue("OnKK", numbers, (Py_ssize_t)walk.end, (unsigned long long)walk.sums[0],
                           (unsigned long long)walk.sums[1]);
done:
    Py_XDECREF(numbers);
    PyBuffer_Release(&data);
    return answer;
}

static PyMethodDef methods[] = {
    {"divide", divide, METH_VARARGS,
     "divide(buffer, start, end, ranges, content, length, /)\n--\n\n"
     "Divide buffer[start:end] as ranges (u64 each: length << 2 | ends << 1 | content) say; content and length\n"
     "are the layout's open number.  Returns where the content, moved together, ends; the skeleton; the offsets\n"
     "at which pieces of content end (u64 each, the machine's order); the layout's next bytes; content; length."},
    {"pairs", pairs, METH_VARARGS,
     "pairs(data, least, first, ended, /)\n--\n\n"
     "Read pairs of a layout up to the first that ends at `least` or behind it.  first: the layout begins here;\n"
     "ended: it ends with these bytes.  Returns the numbers (u64 each, the machine's order), where that pair ends,\n"
     "the sums of skeleton and content; None if it takes more bytes.  Raises ValueError."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "dedupstore.chunks._divide",
    .m_doc = "Divides what a splitter marked; dedupstore.chunks.splitting is its public face.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__divide(void)
{
    return PyModuleDef_Init(&module);
}
