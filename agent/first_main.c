/* mltoken-agent: cleans what it was started in and becomes mltoken-agent-main; prepare.h says why. */
#include "prepare.h"

int main(int argc, char **argv)
{
    (void)argc;
    struct arguments arguments = {0};
    int status = arguments_read(argv, &arguments);
    return status >= 0 ? status : prepare_first(&arguments, argv);
}
