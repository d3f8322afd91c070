/* Python's door to the ids of many chunks; how they are hashed is in _identify_core.h.
 *
 * Invariant: nothing outlives a call; every chunk is checked to lie in the data before one is read.  The GIL is
 * released once for all of them.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_identify_core.h"

static PyObject *identify(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer data;
    PyObject *starts, *ends, *key, *ids = NULL;
    work_t *work = NULL;

    /* what is checked must not change afterwards: only the data may be of another type than bytes */
    if (!PyArg_ParseTuple(args, "y*SSS", &data, &starts, &ends, &key))
        return NULL;
    size_t size = (size_t)PyBytes_Size(starts), count = size / sizeof(uint64_t);
    chunks_t chunks = {.data = data.buf,
                       .starts = (const uint8_t *)PyBytes_AsString(starts),
                       .ends = (const uint8_t *)PyBytes_AsString(ends)};
    if (PyBytes_Size(key) != BLAKE3_KEY_LEN || size % 8 != 0 || (size_t)PyBytes_Size(ends) != size ||
        !are_chunks(&chunks, count, (size_t)data.len)) {
        PyErr_SetString(PyExc_ValueError, "no chunks of the data, or no key");
        goto done;
    }
    load_key_words((const uint8_t *)PyBytes_AsString(key), chunks.key);
    ids = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * ID_SIZE));
    if (ids == NULL)
        goto done;
    work = PyMem_Malloc(sizeof *work);
    if (work == NULL) {
        Py_CLEAR(ids);
        PyErr_NoMemory();
        goto done;
    }
    uint8_t *target = (uint8_t *)PyBytes_AsString(ids);
    Py_BEGIN_ALLOW_THREADS
    identify_chunks(&chunks, count, work, target);
    Py_END_ALLOW_THREADS
    PyMem_Free(work);
done:
    PyBuffer_Release(&data);
    return ids;
}

static PyMethodDef methods[] = {
    {"identify", identify, METH_VARARGS,
     "identify(data, starts, ends, key, /)\n--\n\n"
     "Keyed BLAKE3 of each data[start:end], 32 bytes each; starts and ends are columns of offsets of 8 bytes in the\n"
     "machine's order.  Raises ValueError for a chunk outside the data, or above 2 MiB, and for a key of another\n"
     "length than 32."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "dedupstore.chunks._identify",
    .m_doc = "Ids of many chunks at once; dedupstore.chunks.ids is its public face.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__identify(void)
{
    return PyModuleDef_Init(&module);
}
