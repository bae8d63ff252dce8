/* What every unit test includes: cmocka, which wants these headers before its own. */
#ifndef STUDY_UNIT_H
#define STUDY_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
