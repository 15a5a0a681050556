/* Part of programs that are built with a sanitizer, and of no others. Open MPI loads plugins and unloads them before the process
 * ends; what they leave allocated could then no longer be told from leaks of ours, for its place in the code is gone. So nothing
 * is unloaded, and tests/support/lsan.supp names them. */

__attribute__((visibility("default"))) int dlclose(void *handle);

int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
