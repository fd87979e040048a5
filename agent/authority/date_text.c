#include "authority/date_text.h"

#include <strings.h>
#include <time.h>

struct date {
    int year, month, day, hour, minute, second;
    bool noon_clock, afternoon; /* of twelve hours */
    int zone_s;
};

/* A number of so many digits; what was read is taken off. */
static bool take_number(struct span *text, size_t least, size_t most, int *ret)
{
    size_t digits = 0;
    int number = 0;
    while (digits < most && digits < text->length && text->data[digits] >= '0' && text->data[digits] <= '9')
        number = number * 10 + (text->data[digits++] - '0');
    if (digits < least)
        return false;
    *text = (struct span){text->data + digits, text->length - digits};
    *ret = number;
    return true;
}

static bool take(struct span *text, const char *word)
{
    size_t length = strlen(word);
    if (text->length < length || strncasecmp(text->data, word, length) != 0)
        return false;
    *text = (struct span){text->data + length, text->length - length};
    return true;
}

static bool take_day(struct span *text, struct date *date)
{
    struct span start = *text;
    if (take_number(text, 4, 4, &date->year) && take(text, "-") && take_number(text, 2, 2, &date->month) &&
        take(text, "-") && take_number(text, 2, 2, &date->day) && (take(text, "T") || take(text, " ")))
        return true;
    *text = start;
    return take_number(text, 1, 2, &date->month) && take(text, "/") && take_number(text, 1, 2, &date->day) &&
           take(text, "/") && take_number(text, 4, 4, &date->year) && take(text, " ");
}

static bool take_time(struct span *text, struct date *date)
{
    if (!take_number(text, 1, 2, &date->hour) || !take(text, ":") || !take_number(text, 2, 2, &date->minute) ||
        !take(text, ":") || !take_number(text, 2, 2, &date->second))
        return false;
    if (take(text, ".")) {
        int digit;
        if (!take_number(text, 1, 1, &digit))
            return false;
        while (take_number(text, 1, 1, &digit)) {
        }
    }
    date->afternoon = take(text, " PM");
    date->noon_clock = date->afternoon || take(text, " AM");
    return true;
}

static bool take_zone(struct span *text, struct date *date)
{
    int hours, minutes = 0;
    (void)take(text, " ");
    if (text->length == 0 || take(text, "Z") || take(text, "UTC") || take(text, "GMT"))
        return true;
    int sign = take(text, "+") ? 1 : take(text, "-") ? -1 : 0;
    if (!sign || !take_number(text, 2, 2, &hours) || hours > 14)
        return false;
    (void)take(text, ":");
    if (text->length > 0 && (!take_number(text, 2, 2, &minutes) || minutes > 59))
        return false;
    date->zone_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

bool date_text_read(struct span text, int64_t *ret)
{
    struct date date = {0};
    if (!take_day(&text, &date) || !take_time(&text, &date) || !take_zone(&text, &date) || text.length > 0)
        return false;
    if (date.noon_clock && (date.hour < 1 || date.hour > 12))
        return false;
    if (date.noon_clock)
        date.hour = date.hour % 12 + (date.afternoon ? 12 : 0);
    if (date.year < 1970 || date.month < 1 || date.month > 12 || date.day < 1 || date.hour > 23 || date.minute > 59 ||
        date.second > 60)
        return false;
    struct tm when = {.tm_year = date.year - 1900,
                      .tm_mon = date.month - 1,
                      .tm_mday = date.day,
                      .tm_hour = date.hour,
                      .tm_min = date.minute,
                      .tm_sec = date.second};
    int64_t seconds = timegm(&when);
    if (date.second < 60 && when.tm_mday != date.day) /* no 31st of February */
        return false;
    *ret = seconds - date.zone_s;
    return true;
}
