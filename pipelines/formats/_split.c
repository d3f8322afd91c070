/* Python's door to the splitters; the formats themselves are in _split_afs.h and _split_tar.h.
 *
 * Invariant: one call at a time walks a stream, though the GIL is released meanwhile: a second one is refused.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_split_succeed.h"
#include "_split_tar.h"

typedef struct {
    PyObject_HEAD
    int busy, ended;
    column_t ranges; /* of the call that runs; kept for its memory */
    union {
        afs_t afs;
        tar_t tar;
    } of;
} walker_t;

typedef void (*walk_function)(walker_t *, const uint8_t *, size_t, int);

static void walk_afs(walker_t *w, const uint8_t *data, size_t size, int ended)
{
    afs_split(&w->of.afs, data, size, &w->ranges);
    if (ended)
        afs_end(&w->of.afs);
}

static void walk_tar(walker_t *w, const uint8_t *data, size_t size, int ended)
{
    tar_split(&w->of.tar, data, size, &w->ranges);
    if (ended)
        tar_end(&w->of.tar);
}

static int refused(const walker_t *w)
{
    if (w->busy)
        PyErr_SetString(PyExc_RuntimeError, "another thread is using this splitter");
    return w->busy;
}

static PyObject *split(walker_t *w, PyObject *args, walk_function walk)
{
    Py_buffer data;
    int ended;

    if (!PyArg_ParseTuple(args, "y*p", &data, &ended))
        return NULL;
    if (refused(w)) {
        PyBuffer_Release(&data);
        return NULL;
    }
    if (w->ended) {
        PyBuffer_Release(&data);
        PyErr_SetString(PyExc_ValueError, "the stream has ended already");
        return NULL;
    }
    w->busy = 1;
    w->ended = ended;
    w->ranges.used = 0;
    Py_BEGIN_ALLOW_THREADS
    walk(w, data.buf, (size_t)data.len, ended);
    Py_END_ALLOW_THREADS
    w->busy = 0;
    PyBuffer_Release(&data);
    if (w->ranges.failed) {
        w->ended = 1; /* what was walked is lost: nothing may follow */
        return PyErr_NoMemory();
    }
    return PyBytes_FromStringAndSize((const char *)w->ranges.bytes, (Py_ssize_t)w->ranges.used);
}

static PyObject *position_or_none(int known, uint64_t position)
{
    if (known)
        return PyLong_FromUnsignedLongLong(position);
    Py_RETURN_NONE;
}

static PyObject *text(const char *reason)
{
    return PyUnicode_FromString(reason);
}

static void walker_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    column_free(&((walker_t *)self)->ranges);
    release(self);
    Py_DECREF(type);
}

/* Memory of a new object is all zeros, which is how walks begin. */

static PyObject *afs_split_method(PyObject *self, PyObject *args)
{
    walker_t *w = (walker_t *)self;
    PyObject *ranges = split(w, args, walk_afs);

    if (ranges != NULL && w->of.afs.vnodes.failed) {
        Py_DECREF(ranges);
        w->ended = 1;
        return PyErr_NoMemory();
    }
    return ranges;
}

static PyObject *afs_vnodes(PyObject *self, PyObject *Py_UNUSED(none))
{
    walker_t *w = (walker_t *)self;

    if (refused(w))
        return NULL;
    return PyBytes_FromStringAndSize((const char *)w->of.afs.vnodes.bytes, (Py_ssize_t)w->of.afs.vnodes.used);
}

static PyObject *afs_facts(PyObject *self, PyObject *Py_UNUSED(none))
{
    walker_t *w = (walker_t *)self;
    const afs_facts_t *f = &w->of.afs.facts;

    if (refused(w))
        return NULL;
    if (!w->of.afs.facts_known)
        Py_RETURN_NONE;
    return Py_BuildValue("Iy#IIIIIIIIIII", f->volume, f->name, (Py_ssize_t)f->name_length, f->since, f->until, f->id,
                         f->uniquifier, f->type, f->parent, f->clone, f->creation, f->update, f->backup, f->access);
}

static void afs_dealloc(PyObject *self)
{
    column_free(&((walker_t *)self)->of.afs.vnodes);
    walker_dealloc(self);
}

static PyObject *afs_unparsed(PyObject *self, void *Py_UNUSED(closure))
{
    const afs_t *a = &((walker_t *)self)->of.afs;
    return position_or_none(a->state == UNPARSED, a->unparsed);
}

static PyObject *afs_reason(PyObject *self, void *Py_UNUSED(closure))
{
    return text(((walker_t *)self)->of.afs.reason);
}

static PyObject *afs_complete(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((walker_t *)self)->of.afs.complete);
}

static PyObject *afs_others(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((walker_t *)self)->of.afs.others);
}

static PyObject *afs_trailing(PyObject *self, void *Py_UNUSED(closure))
{
    const afs_t *a = &((walker_t *)self)->of.afs;
    return PyLong_FromUnsignedLongLong(a->complete ? a->position - a->end : 0);
}

static PyMethodDef afs_methods[] = {
    {"split", afs_split_method, METH_VARARGS,
     "split(data, ended, /)\n--\n\nRanges that cover data: a column of u64, length << 2 | ends << 1 | content."},
    {"vnodes", afs_vnodes, METH_NOARGS, "vnodes()\n--\n\nThe vnodes so far, a column of <IIIBxxxQQ."},
    {"facts", afs_facts, METH_NOARGS, "facts()\n--\n\nThe fields of DumpFacts once the headers are parsed, or None."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef afs_values[] = {
    {"unparsed", afs_unparsed, NULL, "Where in the stream it gave up, or None.", NULL},
    {"reason", afs_reason, NULL, "Why it gave up, or is not complete at the end; empty.", NULL},
    {"complete", afs_complete, NULL, "Whether the end mark was found where the parser stood.", NULL},
    {"trailing", afs_trailing, NULL, "Bytes after the end mark.", NULL},
    {"others", afs_others, NULL, "Sections among the vnodes that are not known.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyObject *tar_split_method(PyObject *self, PyObject *args)
{
    return split((walker_t *)self, args, walk_tar);
}

static PyObject *tar_unparsed(PyObject *self, void *Py_UNUSED(closure))
{
    const tar_t *t = &((walker_t *)self)->of.tar;
    return position_or_none(t->state == TAR_UNPARSED, t->unparsed);
}

static PyObject *tar_reason(PyObject *self, void *Py_UNUSED(closure))
{
    return text(((walker_t *)self)->of.tar.reason);
}

static PyObject *tar_complete(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((walker_t *)self)->of.tar.complete);
}

static PyObject *tar_members(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((walker_t *)self)->of.tar.members);
}

static PyMethodDef tar_methods[] = {
    {"split", tar_split_method, METH_VARARGS,
     "split(data, ended, /)\n--\n\nRanges that cover data: a column of u64, length << 2 | ends << 1 | content."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef tar_values[] = {
    {"unparsed", tar_unparsed, NULL, "Where in the stream it gave up, or None.", NULL},
    {"reason", tar_reason, NULL, "Why it gave up, or is not complete at the end; empty.", NULL},
    {"complete", tar_complete, NULL, "Whether two blocks of zeros were found where the parser stood.", NULL},
    {"members", tar_members, NULL, "Members so far.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot afs_slots[] = {
    {Py_tp_doc, "Walks one AFS volume dump."},
    {Py_tp_dealloc, afs_dealloc},
    {Py_tp_methods, afs_methods},
    {Py_tp_getset, afs_values},
    {0, NULL},
};

static PyType_Slot tar_slots[] = {
    {Py_tp_doc, "Walks one tar."},
    {Py_tp_dealloc, walker_dealloc},
    {Py_tp_methods, tar_methods},
    {Py_tp_getset, tar_values},
    {0, NULL},
};

static PyType_Spec afs_spec = {
    .name = "pipelines.formats._split.AfsWalk",
    .basicsize = sizeof(walker_t),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = afs_slots,
};

static PyType_Spec tar_spec = {
    .name = "pipelines.formats._split.TarWalk",
    .basicsize = sizeof(walker_t),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = tar_slots,
};

static PyObject *succession_value(const succession_t *s, PyObject *state)
{
    PyObject *first = Py_None, *altered = PyList_New(0), *result = NULL;

    Py_INCREF(Py_None);
    for (size_t i = 0; altered != NULL && i < s->altered_count && i < MOST_ALTERED; i++) {
        PyObject *number = PyLong_FromUnsignedLong(s->altered[i]);
        if (number == NULL || PyList_Append(altered, number) < 0)
            Py_CLEAR(altered);
        Py_XDECREF(number);
    }
    if (s->missing != 0) {
        Py_DECREF(first);
        first = Py_BuildValue("II", s->first_missing[0], s->first_missing[1]);
    }
    if (altered != NULL && first != NULL)
        result = Py_BuildValue("OKOOK", state, (unsigned long long)s->missing, first, altered,
                               (unsigned long long)s->altered_count);
    Py_XDECREF(first);
    Py_XDECREF(altered);
    return result;
}

static PyObject *succeed(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *parent, *child, *state, *result = NULL;
    char *older, *younger, *now;
    Py_ssize_t older_size, younger_size;
    succession_t succession;
    int enough;

    if (!PyArg_ParseTuple(args, "SS", &parent, &child))
        return NULL;
    if (PyBytes_AsStringAndSize(parent, &older, &older_size) < 0 ||
        PyBytes_AsStringAndSize(child, &younger, &younger_size) < 0)
        return NULL;
    if (older_size % VNODE_RECORD != 0 || younger_size % VNODE_RECORD != 0) {
        PyErr_Format(PyExc_ValueError, "columns of vnodes have records of %d bytes; these have %zd and %zd bytes",
                     VNODE_RECORD, older_size, younger_size);
        return NULL;
    }
    state = PyBytes_FromStringAndSize(younger, younger_size);
    if (state == NULL)
        return NULL;
    now = PyBytes_AsString(state);
    Py_BEGIN_ALLOW_THREADS
    enough = succeed_columns(&succession, (const uint8_t *)older, (size_t)older_size / VNODE_RECORD, (uint8_t *)now,
                             (size_t)younger_size / VNODE_RECORD);
    Py_END_ALLOW_THREADS
    result = enough ? succession_value(&succession, state) : PyErr_NoMemory();
    Py_DECREF(state);
    return result;
}

static PyMethodDef functions[] = {
    {"succeed", succeed, METH_VARARGS,
     "succeed(parent, child, /)\n--\n\nThe fields of Succession for two columns of vnodes."},
    {NULL, NULL, 0, NULL},
};

static int add_types(PyObject *module)
{
    PyType_Spec *specs[] = {&afs_spec, &tar_spec};
    const char *names[] = {"AfsWalk", "TarWalk"};

    for (int i = 0; i < 2; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, specs[i], NULL);
        if (type == NULL)
            return -1;
        int failed = PyModule_AddObjectRef(module, names[i], type);
        Py_DECREF(type);
        if (failed)
            return -1;
    }
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, add_types},
    {0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "pipelines.formats._split",
    .m_doc = "Splitters in C; pipelines.formats.splitters is their public face.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__split(void)
{
    return PyModuleDef_Init(&module);
}
